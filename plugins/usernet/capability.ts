// PUBLIC: where other plugins may listen for a VM, and ports of the guest that they offer there.
import { capability } from '../../core/plugin-api.ts';
import type { Vm } from '../../core/plugin-api.ts';

/** Each VM owns an address of the host's loopback network; published ports are there. */
export interface LoopbackAddresses {
  /** The same for the VM's life; known before it starts. */
  address(vm: Pick<Vm, 'slot'>): string;
}
export const LoopbackAddresses = capability<LoopbackAddresses>('loopback-addresses@1');

/** `published`: a rule of the VM's spec. `added`: asked for while it runs. `auto`: follows a listener of the guest. */
export type ForwardSource = 'published' | 'auto' | 'added';

/** A port of the guest that this host offers. */
export interface PortForward {
  readonly protocol: 'tcp' | 'udp';
  /** Of this host, IPv4. */
  readonly address: string;
  readonly hostPort: number;
  readonly guestPort: number;
  /** Where in the guest: an address, or `localhost`, which is 127.0.0.1, then, for TCP, ::1. */
  readonly guestHost: string;
  readonly source: ForwardSource;
}
export interface ForwardRequest {
  readonly protocol: 'tcp' | 'udp';
  readonly guestPort: number;
  /** @default localhost */
  readonly guestHost?: string | undefined;
  /** @default the VM's own */
  readonly address?: string | undefined;
  /** @default the guest's port; where this host gives that one to root only, 20000 more (else 30000, 40000 more) */
  readonly hostPort?: number | undefined;
  readonly source: Exclude<ForwardSource, 'published'>;
}
/** A port of the guest that is not offered, and why. */
export interface UnforwardedPort {
  readonly protocol: 'tcp' | 'udp';
  readonly guestPort: number;
  /** Half a sentence: "port 127.64.0.1:80 is busy: nginx (pid 812) listens there". */
  readonly why: string;
}

/**
 * Ports of running VMs on this host. Nothing here is kept over a restart of the daemon.
 *
 * Published ports come first: publishing one that is forwarded automatically takes its place, and so does adding it. No other clash is resolved.
 */
export interface PortForwards {
  /** Published ones included. */
  list(vm: Pick<Vm, 'id'>): readonly PortForward[];
  /** Asking again for what there is gives that. @throws busy, naming who holds the port; operation_failed; cancelled when the VM's forwards are closed meanwhile */
  open(vm: Vm, request: ForwardRequest): Promise<PortForward>;
  /** Its listener ends; connections live on. Does nothing to one that is gone. */
  close(vm: Pick<Vm, 'id'>, forward: PortForward): void;
  /** Replaces what is known of ports that are not offered; forgotten with the VM's forwards. */
  setUnforwarded(vm: Pick<Vm, 'id'>, ports: readonly UnforwardedPort[]): void;
  unforwarded(vm: Pick<Vm, 'id'>): readonly UnforwardedPort[];
  /** Called when the published ports of a running VM have changed, or an automatic forward of it gave way to what was asked for. Returns an unregister function. */
  onPublish(listener: (vmId: string) => void): () => void;
}
export const PortForwards = capability<PortForwards>('port-forwards@1');
