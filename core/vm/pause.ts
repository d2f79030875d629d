// vm.pause and vm.resume: the driver holds the guest's CPUs still, or lets them go on.
import type { VmView } from '../api.ts';
import type { VmmDriver } from '../capabilities.ts';
import { missingRequirement, notRunning, timedOut, unsupported } from '../errors.ts';
import { bound } from '../lifecycle/deadline.ts';
import type { Vm } from '../model.ts';
import type { CallContext } from '../plugin-api.ts';
import type { VmRecord } from '../store/vms.ts';
import { keepTrack, liveProcess, underLock } from './context.ts';
import type { VmContext } from './context.ts';
import { viewOf } from './view.ts';

/** A VMM does it in milliseconds; the limit is for one that is frozen itself. */
const driverLimitMs = 10_000;
/** Above the agent's own: a guest that does not answer is resumed all the same. */
const clockLimitMs = 15_000;

/** Pauses a VM; does nothing to a paused one. @throws not_running; unsupported; timeout */
export function pauseVm(ctx: VmContext, ref: string, call: CallContext): Promise<VmView> {
  return underLock(ctx, { ref, verb: 'vm.pause', call }, async (record) => {
    requireUp(ctx, record);
    const { driver, pause } = pausingDriver(ctx, record);
    if (!ctx.registry.isPaused(record.id)) {
      await ask(ctx, record, { verb: 'pause', signal: call.signal, work: (vm, signal) => pause.call(driver, vm, signal) });
      ctx.registry.paused(record.id, true);
    }
    return viewOf(ctx, ctx.store.vms.get(record.id) ?? record);
  });
}

/** Resumes a VM and sets its guest's clock; does nothing to one that is not paused. @throws not_running; unsupported; timeout */
export async function resumeVm(ctx: VmContext, ref: string, call: CallContext): Promise<VmView> {
  const { record, isResumed } = await underLock(ctx, { ref, verb: 'vm.resume', call }, async (found) => {
    requireUp(ctx, found);
    pausingDriver(ctx, found);
    const wasPaused = ctx.registry.isPaused(found.id);
    if (wasPaused) {
      await resumeLocked(ctx, found, call.signal).catch((error: unknown) => {
        // A VMM that is slow may do it later all the same, and then the guest's clock is wrong: the agent keeps in mind that it is to be set.
        void keepTrack(ctx, setClock(ctx, found, { log: call.log }));
        throw error;
      });
    }
    return { record: found, isResumed: wasPaused };
  });
  if (isResumed) {
    call.stage('clock', `setting the clock of ${record.name}`);
    // Without the lock: no other verb waits for a guest that does not answer.
    await setClock(ctx, record, call);
  }
  return viewOf(ctx, ctx.store.vms.get(record.id) ?? record);
}

/** Lets a paused VM go on, under its lock. @throws unsupported; not_running; timeout */
export async function resumeLocked(ctx: VmContext, record: VmRecord, signal?: AbortSignal): Promise<void> {
  const { driver, resume } = pausingDriver(ctx, record);
  await ask(ctx, record, { verb: 'resume', signal, work: (vm, inner) => resume.call(driver, vm, inner) });
  ctx.registry.paused(record.id, false);
}

function requireUp(ctx: VmContext, record: VmRecord): void {
  if (!record.published || liveProcess(ctx, record.id) === undefined) throw notRunning(record.name, viewOf(ctx, record).state);
}

function pausingDriver(ctx: VmContext, { name, spec }: VmRecord): { driver: VmmDriver; pause: NonNullable<VmmDriver['pause']>; resume: NonNullable<VmmDriver['resume']> } {
  const driver = ctx.drivers().get(spec.driver);
  if (driver === undefined) throw missingRequirement(`The plugin ${spec.driver} of VM ${name} is not active`, 'banger plugin list shows why');
  if (driver.pause === undefined || driver.resume === undefined) throw unsupported(`VMs of the plugin ${spec.driver} cannot be paused`);
  return { driver, pause: driver.pause, resume: driver.resume };
}

interface Asked { readonly verb: string; readonly signal: AbortSignal | undefined; work(vm: Vm, signal: AbortSignal): Promise<void> }

async function ask(ctx: VmContext, record: VmRecord, { verb, signal, work }: Asked): Promise<void> {
  const outcome = await bound(
    { limitMs: driverLimitMs, signal, graceMs: 0, expired: () => timedOut(`the VMM of ${record.name} to ${verb}`, driverLimitMs) },
    (inner) => work(ctx.toVm(record), inner));
  if (outcome.kind === 'failed') throw outcome.error;
}

/** The guest's clock stood still with its CPUs. */
async function setClock(ctx: VmContext, record: VmRecord, call: Pick<CallContext, 'log'> & Partial<Pick<CallContext, 'signal'>>): Promise<void> {
  const outcome = await bound(
    { limitMs: clockLimitMs, signal: call.signal, graceMs: 0, expired: () => timedOut(`the clock of ${record.name}`, clockLimitMs) },
    (signal) => ctx.agent().syncClock?.(ctx.toVm(record), signal));
  if (outcome.kind === 'failed') call.log.warn({ vm: record.name, err: outcome.error }, 'the clock of the guest could not be set');
}
