// One row a port from what a guest listens on, with the way there from this host. Pure.
import { isIPv4 } from 'node:net';
import type { PortForward, UnforwardedPort } from '../../usernet/capability.ts';
import type { ListenerSnapshot } from '../capability.ts';
import type { PortRow } from './schema.ts';

export interface RowContext {
  /** VM name, for what to type. */
  readonly name: string;
  readonly forwards: readonly PortForward[];
  readonly unforwarded: readonly UnforwardedPort[];
}
/** Name of a process as shown; the guest chose it. */
const maxName = 64;

/** By protocol and port; v4 and v6 of one port are one row. */
export function portRows(snapshot: ListenerSnapshot, context: RowContext): PortRow[] {
  const rows = new Map<string, PortRow>();
  for (const { protocol, address, port, pid, process } of snapshot.listeners) {
    const key = `${protocol} ${port}`;
    const row = rows.get(key) ?? { protocol, port, addresses: [] };
    if (!row.addresses.includes(address)) row.addresses.push(address);
    if (row.process === undefined && process !== undefined) row.process = process.replaceAll(/\p{Cc}/gu, '?').slice(0, maxName);
    if (row.pid === undefined && pid !== undefined) row.pid = pid;
    rows.set(key, row);
  }
  return [...rows.values()].map((row) => ({ ...row, ...wayTo(row, context) })).toSorted((a, b) => a.port - b.port || (a.protocol < b.protocol ? -1 : 1));
}

/** What leads to a port, where it leads from this host; the VM's own address before others. */
export function forwardOf(row: Pick<PortRow, 'protocol' | 'port' | 'addresses'>, forwards: readonly PortForward[]): PortForward | undefined {
  const fitting = forwardsTo(row, forwards).filter((forward) => reaches(forward, row.addresses));
  return fitting.find((forward) => forward.address.startsWith('127.') && forward.hostPort === row.port) ?? fitting.find((forward) => forward.address.startsWith('127.')) ?? fitting[0];
}

const forwardsTo = ({ protocol, port }: Pick<PortRow, 'protocol' | 'port'>, forwards: readonly PortForward[]): readonly PortForward[] =>
  forwards.filter((forward) => forward.protocol === protocol && forward.guestPort === port);

/** Whether a connection of the forward's meets a listener on these addresses; `::` may take IPv4 too, which nobody tells. */
function reaches({ protocol, guestHost }: PortForward, addresses: readonly string[]): boolean {
  const targets = guestHost !== 'localhost' ? [guestHost] : protocol === 'udp' ? ['127.0.0.1'] : ['127.0.0.1', '::1'];
  return addresses.includes('::') || targets.some((target) => addresses.includes(target) || (isIPv4(target) && addresses.includes('0.0.0.0')));
}

function wayTo(row: PortRow, { name, forwards, unforwarded }: RowContext): Pick<PortRow, 'endpoint' | 'why'> {
  const forward = forwardOf(row, forwards);
  // All addresses of this host: one that works here.
  if (forward !== undefined) return { endpoint: `${forward.address === '0.0.0.0' ? '127.0.0.1' : forward.address}:${forward.hostPort}` };
  const known = unforwarded.find((port) => port.protocol === row.protocol && port.guestPort === row.port);
  if (known !== undefined) return { why: known.why };
  const [astray] = forwardsTo(row, forwards);
  if (astray !== undefined) return { why: `${astray.address}:${astray.hostPort} leads to ${astray.guestHost} of the guest, where nothing listens` };
  return { why: `not forwarded; banger vm port add ${name} ${row.port}${row.protocol === 'udp' ? ' --udp' : ''}` };
}
