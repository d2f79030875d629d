// Notices VMs that end by themselves, and clears what they had within about a second.
import { setTimeout as delay } from 'node:timers/promises';
import type { VmEnd } from '../capabilities.ts';
import { isBangerError } from '../errors.ts';
import { lifelineProcess } from '../lifecycle/lifeline.ts';
import { backgroundScope } from '../lifecycle/scope.ts';
import type { VmContext } from './context.ts';
import { keepTrack, liveProcess } from './context.ts';

const pollMs = 1_000;
/** A driver reports an end just before the process goes. */
const reportedPollMs = 25;
const reportedTries = 80;

export interface Watcher {
  /** Begins to look each second, and at once when a driver reports an end. */
  start(): void;
  /** Ends the watch; teardowns that it began go on and are in `ctx.background`. */
  stop(): void;
  /** Looks once at every VM; resolves when what ended is cleared. */
  check(): Promise<void>;
}

export function createWatcher(ctx: VmContext): Watcher {
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;

  const check = async (): Promise<void> => {
    const dead = [...ctx.store.ledger.lifelines()].filter(([, handle]) => {
      const process = lifelineProcess(handle);
      return process === undefined || !ctx.processes.isAlive(process);
    });
    await Promise.all(dead.map(([id]) => keepTrack(ctx, reap(ctx, id))));
  };
  ctx.registry.onEnded((id) => {
    if (!stopped) void keepTrack(ctx, awaitEnd(ctx, id, () => stopped));
  });

  return {
    check,
    start() {
      timer ??= setInterval(() => {
        check().catch((error: unknown) => ctx.log.error({ err: error }, 'looking after VMs failed'));
      }, pollMs);
      timer.unref();
    },
    stop() {
      stopped = true;
      clearInterval(timer);
      timer = undefined;
    },
  };
}

async function awaitEnd(ctx: VmContext, id: string, isStopped: () => boolean): Promise<void> {
  for (let tries = 0; tries < reportedTries && !isStopped(); tries += 1) {
    if (ctx.store.vms.get(id)?.published !== true) return;
    if (liveProcess(ctx, id) === undefined) return reap(ctx, id);
    await delay(reportedPollMs);
  }
}

/** Tears down a VM whose process is gone. Whoever holds its lock is at that already. */
async function reap(ctx: VmContext, id: string): Promise<void> {
  try {
    await ctx.locks.run(id, { holder: 'watcher', waitMs: 0 }, async () => {
      const record = ctx.store.vms.get(id);
      if (record === undefined || record.activity === 'deleting' || liveProcess(ctx, id) !== undefined) return;
      // With the lock in our hands nobody is at a change that the record still names: its end could not be written.
      if (!record.published && record.activity === undefined) return;
      const op = backgroundScope(ctx.log);
      op.log.info({ vm: record.name }, 'the VM ended by itself');
      // The driver learns how from what the VMM left, while it is undone.
      const endReason = (): VmEnd => ctx.registry.takeEnd(id) ?? { reason: 'vmm-died' };
      await ctx.lifecycle.stop(record, { reason: 'stop', opId: op.opId, log: op.log, endReason });
      const end = ctx.store.vms.get(id);
      op.log.info({ vm: record.name, endReason: end?.endReason, detail: end?.ended?.detail?.[0] }, 'how the VM ended');
    });
  } catch (error) {
    if (isBangerError(error) && error.code === 'busy') return;
    ctx.log.error({ err: error, vmId: id }, 'clearing a VM that ended failed');
  }
}
