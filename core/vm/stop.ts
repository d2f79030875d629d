// Ends a running VM: graceful steps, each bounded, until its process is gone; then the reverse path.
import { setTimeout as delay } from 'node:timers/promises';
import type { VmView } from '../api.ts';
import type { VmEnd, VmEndReason } from '../capabilities.ts';
import { timedOut } from '../errors.ts';
import { bound } from '../lifecycle/deadline.ts';
import type { StopStepRegistration } from '../lifecycle/registrations.ts';
import { undoFailed } from '../lifecycle/settle.ts';
import type { ProcessIdentity } from '../model.ts';
import type { CallContext, Vm } from '../plugin-api.ts';
import { tryWrite } from '../store/try-write.ts';
import type { VmRecord } from '../store/vms.ts';
import { liveProcess, underLock } from './context.ts';
import type { VmContext } from './context.ts';
import { resumeLocked } from './pause.ts';
import { viewOf } from './view.ts';

const pollMs = 20;
type EndReason = VmEndReason | (() => VmEnd);

/** Stops a VM; does nothing but clear leftovers when it does not run. @throws undo_failed */
export function stopVm(ctx: VmContext, ref: string, call: CallContext): Promise<VmView> {
  return underLock(ctx, { ref, verb: 'vm.stop', call }, async (record) => {
    await stopLocked(ctx, record, call);
    return viewOf(ctx, ctx.store.vms.get(record.id) ?? record);
  });
}

/** Stop under the VM's lock. Cancelling the call has no effect from here on: half a stop helps nobody. */
export async function stopLocked(ctx: VmContext, record: VmRecord, call: Pick<CallContext, 'opId' | 'log' | 'stage'>, endReason: EndReason = 'stopped'): Promise<void> {
  const vm = ctx.toVm(record);
  const process = liveProcess(ctx, record.id);
  if (process !== undefined) {
    tryWrite(call.log, `state of ${record.name}`, () => ctx.store.vms.update(record.id, { activity: 'stopping', activityOp: call.opId }));
    await resumeForStop(ctx, record, call);
    // Stopping is the reverse of starting: what came last, and knows the guest best, asks first.
    for (const registration of ctx.stopSteps.toReversed()) {
      if (!ctx.processes.isAlive(process)) break;
      call.stage(registration.stopStep.name, `waiting for ${vm.name} to end`);
      await ask(ctx, { registration, vm, process }, call);
    }
  }
  // One that has ended by itself, before the watcher saw it, was not stopped.
  const endedBefore = (): VmEnd => ctx.registry.takeEnd(record.id) ?? { reason: 'vmm-died' };
  await endLocked(ctx, record, { call, endReason: process === undefined && record.published ? endedBefore : endReason });
}

/** Only a guest that runs can power off. One that cannot be resumed is ended all the same. */
async function resumeForStop(ctx: VmContext, record: VmRecord, call: Pick<CallContext, 'log'>): Promise<void> {
  if (!ctx.registry.isPaused(record.id)) return;
  try {
    await resumeLocked(ctx, record);
  } catch (error) {
    call.log.warn({ vm: record.name, err: error }, 'a paused VM could not be resumed for its stop');
  }
}

/** The reverse path of a run, under the VM's lock. @throws undo_failed */
export async function endLocked(
  ctx: VmContext, record: VmRecord,
  { call, endReason }: { readonly call: Pick<CallContext, 'opId' | 'log'>; readonly endReason: EndReason }): Promise<void> {
  const problems = await ctx.lifecycle.stop(record, { reason: 'stop', opId: call.opId, log: call.log, endReason });
  if (problems.length > 0) throw undoFailed(record, problems);
}

interface Asked { readonly registration: StopStepRegistration; readonly vm: Vm; readonly process: ProcessIdentity }

/** One stop step; returns when the process is gone, the step threw, or its time is over. */
async function ask(ctx: VmContext, { registration, vm, process }: Asked, call: Pick<CallContext, 'log'>): Promise<void> {
  const { plugin, stopStep: step } = registration;
  const deadline = performance.now() + step.timeoutMs;
  const log = call.log.child({ plugin, step: step.name, vm: vm.name });
  const ended = new AbortController();
  let failed = false;
  const work = bound(
    { limitMs: step.timeoutMs, graceMs: 0, signal: ended.signal, expired: () => timedOut(`${step.name} of ${vm.name}`, step.timeoutMs) },
    (signal) => step.run({ vm, signal, log, reason: 'stop' })).then((outcome) => {
    if (outcome.kind === 'returned' || ended.signal.aborted) return;
    failed = true;
    log.warn({ err: outcome.error }, 'stop step failed');
  });
  while (!failed && performance.now() < deadline && ctx.processes.isAlive(process)) await delay(pollMs);
  ended.abort(new Error('the stop step is over'));
  await work;
}
