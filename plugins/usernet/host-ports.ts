// Which port of this host stands for one of the guest.
import { readSysctl } from './requirements.ts';
import type { NetworkHost } from './requirements.ts';

const lastPort = 65_535;
/** Added to a port that this host keeps for root; the next one when that is taken. */
const offsets = [20_000, 30_000, 40_000] as const;

/** The lowest port an ordinary user may listen on (ip_unprivileged_port_start); root may on all. */
export function firstOpenPort(host: NetworkHost): number {
  if (host.uid === 0) return 0;
  const value = Number(readSysctl(host, 'net/ipv4/ip_unprivileged_port_start') ?? '1024');
  return Number.isInteger(value) ? value : 1024;
}

/** Ports to try in turn for one of the guest: itself, or high ones where it is kept for root. */
export function hostPortsFor(guestPort: number, firstOpen: number): readonly number[] {
  if (guestPort >= firstOpen) return [guestPort];
  return offsets.map((offset) => offset + guestPort).filter((port) => port >= firstOpen && port <= lastPort);
}
