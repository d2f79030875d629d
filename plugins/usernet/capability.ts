// PUBLIC: where other plugins may listen for a VM.
import { capability } from '../../core/plugin-api.ts';
import type { Vm } from '../../core/plugin-api.ts';

/** Each VM owns an address of the host's loopback network; published ports are there. */
export interface LoopbackAddresses {
  /** The same for the VM's life; known before it starts. */
  address(vm: Pick<Vm, 'slot'>): string;
}
export const LoopbackAddresses = capability<LoopbackAddresses>('loopback-addresses@1');
