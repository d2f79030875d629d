// Defaults that depend on the host.
import { availableParallelism, totalmem } from 'node:os';

export interface HostSize { readonly cpus: number; readonly memoryMiB: number }

export const hostSize = (): HostSize => ({ cpus: availableParallelism(), memoryMiB: Math.floor(totalmem() / 1024 ** 2) });

/** A quarter of the CPUs and an eighth of the memory: several VMs fit next to the user's own work. */
export function hostDefaults(host: HostSize): { readonly vcpu: number; readonly memoryMiB: number } {
  return { vcpu: clamp(host.cpus / 4, 1, 4), memoryMiB: clamp(host.memoryMiB / 8, 512, 8192) };
}

const clamp = (value: number, min: number, max: number): number => Math.min(max, Math.max(min, Math.floor(value)));
