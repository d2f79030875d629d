// The lifecycle, put together: how a VM starts and how everything it made is undone.
import type { HostInfo, Processes, VmEnd } from '../capabilities.ts';
import type { LeakReport, ReclaimResult } from '../api.ts';
import { isBangerError } from '../errors.ts';
import type { KeyedLock } from '../lock.ts';
import { ensureVmDirs } from '../paths.ts';
import type { Paths } from '../paths.ts';
import type { Contributions, Logger, Vm } from '../plugin-api.ts';
import type { Store } from '../store/store.ts';
import { tryWrite } from '../store/try-write.ts';
import type { VmError, VmRecord } from '../store/vms.ts';
import { requireHostRoom } from '../vm/preflight.ts';
import { createToVm } from '../vm/record.ts';
import { noFaults } from './faults.ts';
import type { FaultPoints } from './faults.ts';
import { createStartHook } from './hooks.ts';
import type { JobRunner } from './jobs.ts';
import { findLeaks, toReport } from './leaks.ts';
import { planStart } from './planner.ts';
import type { StartPlan } from './planner.ts';
import { reclaim } from './reclaim.ts';
import type { ReclaimCall } from './reclaim.ts';
import { startRecovery } from './recover.ts';
import type { RecoverReport } from './recover.ts';
import type { ContributionRegistration, ResourceRegistration, StepRegistration } from './registrations.ts';
import { runStart } from './runner.ts';
import type { OperationScope } from './scope.ts';
import { createSettle, endPatch, isOfOneRun, undoFailed } from './settle.ts';
import type { Settle } from './settle.ts';
import { createTeardown } from './teardown.ts';

export interface LifecycleDeps {
  readonly store: Store;
  readonly paths: Paths;
  readonly log: Logger;
  readonly processes: Processes;
  readonly hostInfo: Pick<HostInfo, 'slowdown'>;
  /** One lock a VM, by VM id; shared with the VM service. */
  readonly locks: KeyedLock;
  /** Frozen; in plugin graph order, then declaration order. */
  readonly steps: readonly StepRegistration[];
  readonly contributions: readonly ContributionRegistration[];
  readonly resources: readonly ResourceRegistration[];
  readonly jobs: JobRunner;
  /** Machine and guest before plugins add to them (`createBaseMachine`). */
  readonly base: (vm: Vm) => Promise<Contributions>;
  /** Told when a VM is up, down or gone (`VmRegistry.announce`). */
  readonly announce: (kind: 'started' | 'stopped' | 'deleted', vm: Vm) => void;
  /** `VmRegistry.takeEnd`. */
  readonly takeEnd?: (vmId: string) => VmEnd | undefined;
  readonly now?: () => Date;
  readonly faults?: FaultPoints;
}

/** Except for `plan`, `recover` and the leak calls, the caller holds the VM's lock. */
export interface Lifecycle extends Settle {
  /** Plans only: writes and makes nothing. */
  plan(vm: Vm): Promise<StartPlan>;
  /**
   * Starts a VM and publishes it.
   *
   * @throws start_failed, cancelled: everything begun is undone; undo_failed when what an earlier undo left is still in the way.
   */
  start(record: VmRecord, op: OperationScope): Promise<void>;
  /** To be called once, before the first request is served; `finished` need not be awaited. */
  recover(): { readonly finished: Promise<RecoverReport> };
  leaks(signal?: AbortSignal): Promise<LeakReport>;
  reclaim(call: ReclaimCall): Promise<ReclaimResult>;
}

/** @throws internal when two steps have one name */
export function createLifecycle(deps: LifecycleDeps): Lifecycle {
  const { store, log, steps } = deps;
  const faults = deps.faults ?? noFaults;
  const toVm = createToVm(store.installId, deps.paths);
  const hook = createStartHook();
  for (const registration of steps) hook.add(registration);
  hook.freeze();
  const teardown = createTeardown({ store, steps, faults, log });
  const settle = createSettle({ store, teardown, paths: deps.paths, toVm, log, onEnd: deps.announce, now: deps.now });
  const runner = { store, hook, teardown, hostInfo: deps.hostInfo, processes: deps.processes, faults, takeEnd: deps.takeEnd };
  const whole = { ...deps, teardown, settle, toVm };

  const start = async (record: VmRecord, op: OperationScope): Promise<void> => {
    const vm = toVm(record);
    const left = store.ledger.byOwner(`vm:${vm.id}`).filter(isOfOneRun);
    const problems = await teardown(vm, left, { reason: 'reclaim', log: op.log });
    if (problems.length > 0) throw undoFailed(vm, problems);
    // What was told of the end of an earlier run is none of this one's.
    deps.takeEnd?.(vm.id);
    store.vms.update(vm.id, {
      activity: 'starting', activityOp: op.opId, published: false, endReason: undefined, ended: undefined, lastError: undefined, reboots: 0,
    });
    try {
      ensureVmDirs(deps.paths, vm.id);
      await requireHostRoom({ name: vm.name, memoryMiB: vm.spec.memoryMiB, stateDir: deps.paths.stateDir });
      await runStart(runner, { vm, plan: await planStart(deps, vm), op });
      store.vms.update(vm.id, {
        activity: undefined, activityOp: undefined, published: true, startedAt: (deps.now?.() ?? new Date()).toISOString(),
      });
    } catch (error) {
      tryWrite(op.log, `state of ${vm.name}`, () => {
        store.vms.update(vm.id, { activity: undefined, activityOp: undefined, lastError: toVmError(error, op.opId), ...endPatch(endOf(error), deps.now) });
      });
      throw error;
    }
    deps.announce('started', vm);
  };

  return {
    ...settle,
    start,
    plan: (vm) => planStart(deps, vm),
    recover: () => startRecovery(whole),
    leaks: async (signal) => toReport(store, await findLeaks(deps, signal)),
    reclaim: (call) => reclaim(whole, call),
  };
}

/** How the VMM ended that a start failed of, when it was that. */
function endOf(error: unknown): (() => VmEnd) | undefined {
  const end = isBangerError(error) ? error.detail?.['end'] as VmEnd | undefined : undefined;
  return end === undefined ? undefined : () => end;
}

/** A cancelled start is no error of the VM. */
function toVmError(error: unknown, opId: string): VmError | undefined {
  if (!isBangerError(error)) return { code: 'internal', message: 'internal error', opId };
  return error.code === 'cancelled' ? undefined : { code: error.code, message: error.message, opId };
}
