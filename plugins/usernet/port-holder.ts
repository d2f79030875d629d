// Who has a port of this host, for the error of a port that is taken (proc(5), /proc/net/tcp and udp).
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';

/** Of a socket that takes what comes: LISTEN, and for UDP CLOSE, which means bound and not connected. */
const waitingState = { tcp: '0A', udp: '07' } as const;

export interface HostPort { readonly protocol: 'tcp' | 'udp'; readonly address: string; readonly port: number }

/** "nginx (pid 812)"; undefined when it cannot be told, as for another user's process. */
export function findPortHolder(wanted: HostPort, proc = '/proc'): string | undefined {
  const inode = findListenInode(wanted, proc);
  return inode === undefined ? undefined : findSocketOwner(inode, proc);
}

/** Inode of the socket that covers address and port. */
export function findListenInode({ protocol, address, port }: HostPort, proc = '/proc'): string | undefined {
  const wanted = new Set([hexAddress(address), '00000000']);
  for (const line of readLines(`${proc}/net/${protocol}`).slice(1)) {
    const [, local = '', , state, , , , , , inode] = line.trim().split(/\s+/);
    const [host = '', hexPort = ''] = local.split(':');
    const covers = wanted.has(host) || address === '0.0.0.0';
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
