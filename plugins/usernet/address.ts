// Addresses and names a VM gets from this plugin, all derived, none allocated.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { GuestNetwork, HostInfo, Nic, Vm } from '../../core/plugin-api.ts';

/** The network that QEMU makes inside the namespace; slirp4netns outside it has 10.0.2.0/24. */
const inner = { cidr: '10.0.3.0/24', gateway: '10.0.3.2', address: '10.0.3.15/24' } as const;
/** Name server of slirp4netns, which hands on to the host's resolver, also where that listens on the host's loopback only. */
const outerNameserver = '10.0.2.3';
/** What QEMU's user network carries; the 65520 between namespace and host is another link. */
const guestMtu = 1500;

/**
 * The VM's own loopback address, 127.64.0.0 to 127.127.255.255.
 *
 * Unique among one daemon's VMs; the daemon's part is a hash, so two daemons on a host rarely meet, and where they do only
 * the same port of both is in use.
 */
export function loopbackAddress(host: Pick<HostInfo, 'uid' | 'installId'>, vm: Pick<Vm, 'slot'>): string {
  const hash = createHash('sha256').update(`${host.uid}/${host.installId}`).digest();
  const low = (hash.readUInt16BE(1) + vm.slot) % 65_536;
  return `127.${64 + hash.readUInt8(0) % 64}.${low >> 8}.${low & 255}`;
}

/** Locally administered, stable for a VM. */
export function macAddress(vm: Pick<Vm, 'mark'>): string {
  const hash = createHash('sha256').update(`mac:${vm.mark}`).digest('hex');
  return `02:${[0, 2, 4, 6, 8].map((at) => hash.slice(at, at + 2)).join(':')}`;
}

export function userNic(vm: Vm): Nic {
  return { kind: 'user', mac: macAddress(vm), cidr: inner.cidr, gateway: inner.gateway };
}

export function guestNetwork(vm: Vm): GuestNetwork {
  return { mac: macAddress(vm), address: inner.address, gateway: inner.gateway, nameservers: [outerNameserver], mtu: guestMtu };
}

export function netnsPidFile(vm: Vm): string {
  return join(vm.dir, 'netns.pid');
}

/** One word of the supervisor: starting, slirp-ready, slirp-died, ended. */
export function netnsStatusFile(vm: Vm): string {
  return join(vm.dir, 'netns.status');
}
