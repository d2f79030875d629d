// Who has a port of this host, for the error of a port that is taken (proc(5), /proc/net/tcp, tcp6, udp and udp6).
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';

/** Of a socket that takes what comes: LISTEN, and for UDP CLOSE, which means bound and not connected. */
const waitingState = { tcp: '0A', udp: '07' } as const;

export interface HostPort { readonly protocol: 'tcp' | 'udp'; readonly address: string; readonly port: number }

/** Another directory or clock is for tests. */
export interface HolderOptions { readonly proc?: string; readonly now?: () => number }

/** "nginx (pid 812)"; undefined when it cannot be told, as for another user's process. */
export function findPortHolder(wanted: HostPort, { proc = '/proc', now = () => performance.now() }: HolderOptions = {}): string | undefined {
  const inode = findListenInode(wanted, proc);
  if (inode === undefined) return undefined;
  const known = owners.get(inode);
  if (known?.proc === proc && now() - known.atMs < keptMs) return known.name;
  const name = findSocketOwner(inode, proc);
  owners.delete(inode);
  owners.set(inode, { proc, name, atMs: now() });
  const oldest = owners.keys().next().value;
  if (owners.size > mostKept && oldest !== undefined) owners.delete(oldest);
  return name;
}

/** By inode. The look at the descriptors of all processes takes 10 to 100 ms, in which nothing else is done, and a guest may want many ports that are taken. */
const owners = new Map<string, { readonly proc: string; readonly name: string | undefined; readonly atMs: number }>();
const keptMs = 60_000;
const mostKept = 1024;

/** Inode of the socket that covers address and port. A socket of IPv6 on all addresses mostly has IPv4's, too. */
export function findListenInode({ protocol, address, port }: HostPort, proc = '/proc'): string | undefined {
  const any4 = '0'.repeat(8);
  const any6 = '0'.repeat(32);
  const mapped = `${'0'.repeat(16)}FFFF0000`;
  const own = hexAddress(address);
  const wanted = new Set([own, any4, mapped + own, mapped + any4, any6]);
  for (const line of [...readLines(`${proc}/net/${protocol}`).slice(1), ...readLines(`${proc}/net/${protocol}6`).slice(1)]) {
    const [, local = '', , state, , , , , , inode] = line.trim().split(/\s+/);
    const [host = '', hexPort = ''] = local.split(':');
    const covers = wanted.has(host) || (address === '0.0.0.0' && (host.length === any4.length || host.startsWith(mapped)));
    if (state === waitingState[protocol] && covers && Number.parseInt(hexPort, 16) === port) return inode;
  }
  return undefined;
}

/** The kernel prints the address as a number of the host's byte order, little endian on x86-64. */
function hexAddress(address: string): string {
  return address.split('.').toReversed().map((part) => Number(part).toString(16).padStart(2, '0').toUpperCase()).join('');
}

function findSocketOwner(inode: string, proc: string): string | undefined {
  for (const pid of readDir(proc).filter((name) => /^\d+$/.test(name))) {
    for (const fd of readDir(`${proc}/${pid}/fd`)) {
      if (readLink(`${proc}/${pid}/fd/${fd}`) !== `socket:[${inode}]`) continue;
      return `${readLines(`${proc}/${pid}/comm`)[0] ?? 'process'} (pid ${pid})`;
    }
  }
  return undefined;
}

// Processes end while we look, and those of others do not open: both mean "not this one".
function readLines(path: string): string[] {
  try { return readFileSync(path, 'utf8').trimEnd().split('\n'); } catch { return []; }
}
function readDir(path: string): string[] {
  try { return readdirSync(path); } catch { return []; }
}
function readLink(path: string): string | undefined {
  try { return readlinkSync(path); } catch { return undefined; }
}
