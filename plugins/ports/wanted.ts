// Which ports of a guest are to be forwarded, from what it says that it listens on. Pure; the guest may say anything.
import { isIPv4 } from 'node:net';
import type { UnforwardedPort } from '../usernet/capability.ts';
import type { ListenerSnapshot } from '../stats/capability.ts';

/** Where the agent listens for ports of the host; also the address of `host.banger.internal`. */
export const hostAccessAddress = '127.111.0.1';

export interface WantedForward {
  readonly guestPort: number;
  /** Where to connect to inside the guest, so that the listener is met. */
  readonly guestHost: string;
}
export interface Wanted {
  /** By port. */
  readonly forwards: readonly WantedForward[];
  readonly unforwarded: readonly UnforwardedPort[];
}

/** TCP only. Listeners of the agent's for the host's own services are left out: a forward would lead the host to itself. */
export function wantedForwards(listeners: ListenerSnapshot['listeners']): Wanted {
  const hosts = new Map<number, Set<string>>();
  for (const { protocol, address, port } of listeners) {
    if (protocol !== 'tcp' || address === hostAccessAddress) continue;
    const known = hosts.get(port) ?? new Set<string>();
    hosts.set(port, known.add(plainAddress(address)));
  }
  const forwards: WantedForward[] = [];
  const unforwarded: UnforwardedPort[] = [];
  for (const [guestPort, addresses] of [...hosts].toSorted(([a], [b]) => a - b)) {
    const guestHost = dialHost([...addresses]);
    if (guestHost === undefined) unforwarded.push({ protocol: 'tcp', guestPort, why: 'the guest listens on a link-local address only' });
    else forwards.push({ guestPort, guestHost });
  }
  return { forwards, unforwarded };
}

/** The way to one port; undefined where nothing listens on it. */
export function guestHostOf(listeners: ListenerSnapshot['listeners'], protocol: 'tcp' | 'udp', port: number): string | undefined {
  return dialHost(listeners.filter((one) => one.protocol === protocol && one.port === port).map(({ address }) => plainAddress(address)));
}

/** The way to a listener on these addresses of the guest: its loopback where that leads there, else the address itself. */
export function dialHost(addresses: readonly string[]): string | undefined {
  const has = (address: string): boolean => addresses.includes(address);
  if (has('0.0.0.0') || has('127.0.0.1')) return '127.0.0.1';
  // `::` may take IPv4 too, or not: `localhost` tries both.
  if (has('::')) return 'localhost';
  if (has('::1')) return '::1';
  return addresses.find((address) => isIPv4(address)) ?? addresses.find((address) => !/^fe[89ab]/i.test(address));
}

/** An IPv4 address in IPv6's clothes without them. */
function plainAddress(address: string): string {
  const mapped = /^::ffff:(.+)$/i.exec(address)?.[1];
  return mapped !== undefined && isIPv4(mapped) ? mapped : address;
}
