// Tells when slirp4netns of a running VM has died: the guest's network is gone then, and nothing else would say so.
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { Vm, Vms } from '../../core/plugin-api.ts';
import { netnsStatusFile } from './address.ts';
import { sectionOf } from './schema.ts';

const note = 'its network is down: slirp4netns ended; banger vm restart brings it back';

/** Loops until the signal; for `ctx.task`. */
export async function watchUplinks(vms: Vms, signal: AbortSignal, pollMs = 5000): Promise<void> {
  const told = new Set<string>();
  while (!signal.aborted) {
    for (const vm of vms.list()) {
      if (sectionOf(vm.spec.sections).network !== 'user' || !vms.isRunning(vm.id)) told.delete(vm.id);
      else if (!told.has(vm.id) && await isDown(vm)) {
        told.add(vm.id);
        vms.note(vm.id, note);
      }
    }
    await delay(pollMs, undefined, { signal }).catch(() => undefined); // the end of the daemon
  }
}

async function isDown(vm: Vm): Promise<boolean> {
  // No file: the namespace is being made, or undone.
  const status = await readFile(netnsStatusFile(vm), 'utf8').catch(() => '');
  return status.trim() === 'slirp-died' || status.trim() === 'ended';
}
