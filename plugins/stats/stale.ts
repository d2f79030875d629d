// Stops VMs that nobody used for long. Who counts as a user is core's to say; it looks once more, with the VM's lock in hand.
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger, Vm, VmTeardown, VmUse, Vms } from '../../core/plugin-api.ts';
import { formatDuration } from './duration.ts';

export interface StaleDeps {
  readonly vms: Pick<Vms, 'list' | 'process'>;
  readonly use: Pick<VmUse, 'of'>;
  readonly teardown: VmTeardown;
  readonly log: Logger;
  readonly afterMs: number;
  /** @default Date.now */
  readonly now?: () => number;
}

/** Stops at once: the guests' own clean ends need CPU. */
const atOnce = 4;

/** One look at all VMs; settles when the stops that it began have ended. */
export async function stopStale(deps: StaleDeps, busy: Set<string>, signal: AbortSignal): Promise<void> {
  await stopEach(deps, findStale(deps, busy), { busy, signal });
}

/** Those that are stale, and not busy until now. */
function findStale(deps: StaleDeps, busy: Set<string>): Vm[] {
  const now = deps.now ?? Date.now;
  const isStale = (id: string): boolean => {
    const { lastUsedAt, holds } = deps.use.of(id);
    return holds.length === 0 && now() - lastUsedAt >= deps.afterMs;
  };
  const stale = deps.vms.list().filter((vm) => !busy.has(vm.id) && isStale(vm.id) && deps.vms.process(vm.id) !== undefined);
  // Those that wait their turn too: the next look must not begin them beside this one.
  for (const vm of stale) busy.add(vm.id);
  return stale;
}

/** Never rejects. */
async function stopEach(deps: StaleDeps, stale: Vm[], { busy, signal }: { readonly busy: Set<string>; readonly signal: AbortSignal }): Promise<void> {
  const stopNext = async (): Promise<void> => {
    for (let vm = stale.shift(); vm !== undefined; vm = stale.shift()) {
      if (!signal.aborted) await stopOne(deps, vm, signal);
      busy.delete(vm.id);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, stopNext));
}

async function stopOne({ teardown, log, afterMs }: StaleDeps, vm: Vm, signal: AbortSignal): Promise<void> {
  try {
    const outcome = await teardown.stopUnused(vm.id, { unusedForMs: afterMs, signal });
    if (outcome === 'stopped') log.info({ vm: vm.name }, `stopped: unused for ${formatDuration(afterMs)}`);
  } catch (error) {
    if (!signal.aborted) log.warn({ vm: vm.name, err: error }, 'cannot stop a VM that nobody uses');
  }
}

/** Looks again and again until the signal ends it; a VM whose stop takes long holds up no look at the others. */
export async function watchStale(deps: StaleDeps, signal: AbortSignal): Promise<void> {
  const everyMs = Math.min(30_000, Math.max(250, deps.afterMs / 4));
  const busy = new Set<string>();
  while (!signal.aborted) {
    // A look that fails is the task's failure; what it finds is stopped beside it.
    void stopEach(deps, findStale(deps, busy), { busy, signal });
    await delay(everyMs, undefined, { signal }).catch(() => undefined); // the loop's condition ends it
  }
}
