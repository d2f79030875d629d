// What `agent ports` prints: lines of sockets, then `end <count> <more>`.
import { SocketAddress } from 'node:net';
import type { GuestListener, ListenerSnapshot } from '../capability.ts';

export const snapshotLimits = {
  /** The agent tells of no more. */
  lines: 2048,
  /** Longer than any line can be. */
  lineChars: 200,
} as const;

/** Cuts a stream into snapshots, each the lines of one, its `end` included. */
export class SnapshotSplitter {
  #lines: string[] = [];
  #partial = '';

  /** Those that are whole now; undefined: too long a line, or too many. */
  push(text: string): string[][] | undefined {
    const whole: string[][] = [];
    const parts = (this.#partial + text).split('\n');
    this.#partial = parts.pop()!;
    if (this.#partial.length > snapshotLimits.lineChars) return undefined;
    for (const line of parts) {
      if (line.length > snapshotLimits.lineChars || this.#lines.length > snapshotLimits.lines) return undefined;
      this.#lines.push(line);
      if (!line.startsWith('end ')) continue;
      whole.push(this.#lines);
      this.#lines = [];
    }
    return whole;
  }

  /** Nothing has begun that is not whole. */
  isAtEnd(): boolean {
    return this.#lines.length === 0 && this.#partial === '';
  }
}

/** undefined for one that makes no sense anywhere. */
export function parseSnapshot(lines: readonly string[]): ListenerSnapshot | undefined {
  const end = /^end (\d{1,4}) (\d{1,9})$/.exec(lines.at(-1) ?? '');
  if (end === null || Number(end[1]) !== lines.length - 1) return undefined;
  const found = new Map<string, GuestListener>();
  for (const line of lines.slice(0, -1)) {
    const listener = parseLine(line);
    if (listener === undefined) return undefined;
    const key = `${listener.protocol} ${listener.port} ${listener.address}`;
    // An IPv4 address can come as IPv4 and as IPv6.
    if (!found.has(key)) found.set(key, listener);
  }
  return { listeners: [...found.values()].toSorted(compare), more: Number(end[2]) };
}

const linePattern = /^(tcp|udp) (?:4 ([\da-f]{8})|6 ([\da-f]{32})) (\d{1,5}) (\d{1,10}) (\d{1,10}) ([!-~]{1,93})$/;
const maxPid = 2 ** 31 - 1;
const maxUid = 2 ** 32 - 1;

function parseLine(line: string): GuestListener | undefined {
  const match = linePattern.exec(line);
  if (match === null) return undefined;
  const [port, uid, pid] = [Number(match[4]), Number(match[5]), Number(match[6])];
  if (port < 1 || port > 65_535 || uid > maxUid || pid > maxPid) return undefined;
  return {
    protocol: match[1] as GuestListener['protocol'], address: match[2] === undefined ? ipv6Text(match[3]!) : ipv4Text(match[2]), port, uid,
    ...(pid === 0 ? {} : { pid, process: nameText(match[7]!) }),
  };
}

const ipv4Text = (hex: string): string => [...Buffer.from(hex, 'hex')].join('.');

/** IPv4 where it means that. */
function ipv6Text(hex: string): string {
  if (/^0{20}f{4}/.test(hex)) return ipv4Text(hex.slice(24));
  return new SocketAddress({ family: 'ipv6', address: hex.replaceAll(/(.{4})(?!$)/g, '$1:') }).address;
}

/** What a program calls itself, fit to be shown. */
function nameText(escaped: string): string {
  const bytes = escaped.replaceAll(/%([\dA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1').toString('utf8').replaceAll(/\p{C}/gu, '?');
}

function compare(a: GuestListener, b: GuestListener): number {
  if (a.protocol !== b.protocol) return a.protocol < b.protocol ? -1 : 1;
  if (a.port !== b.port) return a.port - b.port;
  return a.address < b.address ? -1 : 1;
}
