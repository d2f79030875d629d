// What a start needs of the host, asked before anything is made.
import { readFile, statfs } from 'node:fs/promises';
import { missingRequirement } from '../errors.ts';

/** A boot writes tens of MiB: the VM's initrd, the overlay's first blocks, journals. */
const minFreeDiskMiB = 256;
/** Overhead of a VMM beside its guest's memory. */
const vmmMemoryMiB = 48;

/**
 * Refuses a start that the host's free disk or memory cannot bear.
 *
 * @throws missing_requirement with the figures
 */
export async function requireHostRoom(options: { readonly name: string; readonly memoryMiB: number; readonly stateDir: string; readonly meminfo?: string }): Promise<void> {
  const { name, memoryMiB, stateDir } = options;
  const disk = await statfs(stateDir);
  const freeDiskMiB = Math.floor((disk.bavail * disk.bsize) / 1024 ** 2);
  if (freeDiskMiB < minFreeDiskMiB) {
    throw missingRequirement(`VM ${name} needs ${minFreeDiskMiB} MiB of free disk below ${stateDir}, which has ${freeDiskMiB} MiB`,
      'free some disk space; banger image list and banger vm list show what uses it');
  }
  const freeMemoryMiB = availableMemoryMiB(options.meminfo ?? await readFile('/proc/meminfo', 'utf8'));
  const neededMiB = memoryMiB + vmmMemoryMiB;
  if (freeMemoryMiB !== undefined && freeMemoryMiB < neededMiB) {
    throw missingRequirement(`VM ${name} needs ${neededMiB} MiB of memory and the host has ${freeMemoryMiB} MiB free`,
      'stop another VM, or give this one less memory: banger vm set --memory');
  }
}

/** MemAvailable and SwapFree of /proc/meminfo (proc_meminfo(5)), in MiB. */
export function availableMemoryMiB(meminfo: string): number | undefined {
  const read = (key: string): number | undefined => {
    const found = new RegExp(`^${key}: +([0-9]+) kB$`, 'm').exec(meminfo)?.[1];
    return found === undefined ? undefined : Number(found);
  };
  const available = read('MemAvailable');
  return available === undefined ? undefined : Math.floor((available + (read('SwapFree') ?? 0)) / 1024);
}
