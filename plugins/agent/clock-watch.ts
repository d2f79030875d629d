// Looks after the clocks of all guests: when the host has slept, and where a guest could not be asked before.
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger, Vm, Vms } from '../../core/plugin-api.ts';
import type { HostClocks } from './clock.ts';

export interface ClockWatchDeps {
  readonly vms: Pick<Vms, 'get' | 'list' | 'isRunning' | 'isPaused'>;
  readonly clocks: Pick<HostClocks, 'bootMs' | 'awakeMs'>;
  readonly sync: (vm: Vm, signal: AbortSignal) => Promise<void>;
  readonly log: Logger;
  /** Between two looks at the host's clocks. @default 5000 */
  readonly lookMs?: number;
}
export interface ClockWatch {
  /** The VM's clock is looked at soon, a few times if need be. */
  due(vmId: string): void;
  /** Looks at the VM's clock at once, as `sync` does; where that fails, a few times more soon. */
  now(vm: Vm, signal: AbortSignal): Promise<void>;
  /** Until the signal fires. */
  run(signal: AbortSignal): Promise<void>;
}

/** For less no guest is woken. */
const sleptMs = 1_000;
const maxTries = 3;
const atOnce = 8;
const defaultLookMs = 5_000;

export const hostClocks: HostClocks = {
  wallMs: () => Date.now(),
  // CLOCK_BOOTTIME, which Node does not give.
  bootMs: () => Number.parseFloat(readFileSync('/proc/uptime', 'latin1')) * 1_000,
  awakeMs: () => Number(process.hrtime.bigint()) / 1e6,
};

/** One after the other for each VM: two that measure the same before either steps would both step. */
function oneAtATime(sync: ClockWatchDeps['sync']): ClockWatchDeps['sync'] {
  const last = new Map<string, Promise<void>>();
  return (vm, signal) => {
    const asked = (last.get(vm.id) ?? Promise.resolve()).then(() => sync(vm, signal));
    // Each question has a limit of its own, so the wait for those before it ends.
    const over = asked.then(() => undefined, () => undefined).finally(() => { if (last.get(vm.id) === over) last.delete(vm.id); });
    last.set(vm.id, over);
    return asked;
  };
}

export function createClockWatch(deps: ClockWatchDeps): ClockWatch {
  const { vms, clocks, log, lookMs = defaultLookMs } = deps;
  const sync = oneAtATime(deps.sync);
  /** Tries left, by VM id. */
  const due = new Map<string, number>();
  const attempt = async (id: string, signal: AbortSignal): Promise<void> => {
    const triesLeft = (due.get(id) ?? 1) - 1;
    const vm = vms.get(id);
    const isRunning = vm !== undefined && vms.isRunning(id);
    // It stays due: a pause may end without a call that sets the clock.
    if (isRunning && vms.isPaused(id)) return;
    due.delete(id);
    if (!isRunning) return;
    try {
      await sync(vm, signal);
    } catch (error) {
      log.debug({ vm: vm.name, err: error }, 'the clock of the guest could not be looked at');
      if (triesLeft > 0 && !due.has(id)) due.set(id, triesLeft);
    }
  };
  const attemptAll = async (signal: AbortSignal): Promise<void> => {
    const queue = [...due.keys()].values();
    const worker = async (): Promise<void> => { for (const id of queue) if (!signal.aborted) await attempt(id, signal); };
    await Promise.all(Array.from({ length: Math.min(atOnce, due.size) }, worker));
  };
  return {
    due: (vmId) => void due.set(vmId, maxTries),
    async now(vm, signal) {
      try {
        await sync(vm, signal);
        due.delete(vm.id);
      } catch (error) {
        // A guest that has just been let go on may be busy with all that waited for it; it is wrong until somebody asks again.
        due.set(vm.id, maxTries);
        throw error;
      }
    },
    async run(signal) {
      const aheadMs = (): number => clocks.bootMs() - clocks.awakeMs();
      for (let before = aheadMs(); !signal.aborted;) {
        await delay(lookMs, undefined, { signal, ref: false }).catch(() => undefined);
        const now = aheadMs();
        if (now - before > sleptMs) {
          log.info({ sleptMs: Math.round(now - before) }, 'the host slept, so the clocks of the guests are looked at');
          for (const { id } of vms.list()) due.set(id, maxTries);
        }
        before = now;
        await attemptAll(signal);
      }
    },
  };
}
