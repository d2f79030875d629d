// What a new daemon does about the VMs and jobs of the one before it.
import type { Processes, VmEnd } from '../capabilities.ts';
import { timedOut } from '../errors.ts';
import type { KeyedLock } from '../lock.ts';
import type { Logger, Vm } from '../plugin-api.ts';
import type { Store } from '../store/store.ts';
import type { VmRecord } from '../store/vms.ts';
import { foundEnd } from '../vm/end.ts';
import type { ToVm } from '../vm/record.ts';
import { bound } from './deadline.ts';
import type { JobRunner } from './jobs.ts';
import { lifelineProcess } from './lifeline.ts';
import type { StepRegistration } from './registrations.ts';
import { backgroundScope } from './scope.ts';
import type { Settle } from './settle.ts';
import { defaultUndoTimeoutMs, toProblem } from './teardown.ts';
import type { UndoProblem } from './teardown.ts';

/** VMs worked on at once: undos run host programs, and a host that comes up again has all its VMs to clear. */
const atOnce = 8;

/** Holder of the locks of VMs that recovery still has in hand. */
export const recoveryHolder = 'recovery';

/** A daemon that has just come up serves before it has its VMs' sessions again: waits until recovery has let go of one. */
export async function recovered(
  locks: KeyedLock, vm: { readonly id: string; readonly name: string; readonly holder: string; readonly signal: AbortSignal }): Promise<void> {
  if (locks.holder(vm.id) !== recoveryHolder) return;
  await locks.run(vm.id, { holder: vm.holder, signal: vm.signal, subject: `VM ${vm.name}` }, () => undefined);
}

export interface RecoverDeps {
  readonly store: Store;
  readonly steps: readonly StepRegistration[];
  readonly settle: Settle;
  readonly jobs: JobRunner;
  readonly processes: Processes;
  readonly locks: KeyedLock;
  readonly toVm: ToVm;
  readonly log: Logger;
  /** What a driver learned from a VMM's remains about its end. */
  readonly takeEnd?: (vmId: string) => VmEnd | undefined;
}
export interface RecoverReport {
  /** VM names. */
  readonly adopted: string[];
  readonly rolledBack: string[];
  readonly stopped: string[];
  readonly deleted: string[];
  /** Job names undone. */
  readonly jobs: string[];
  readonly problems: UndoProblem[];
}
/** What is decided for one VM; `adopt` keeps its process. */
export type RecoverDecision = 'adopt' | 'rollback' | 'stop' | 'delete';

/** Pure: the whole policy, from what the store says and whether the process lives. */
export function decide(record: VmRecord, isAlive: boolean): RecoverDecision {
  if (record.lease || record.activity === 'deleting') return 'delete';
  if (record.activity === 'starting') return 'rollback';
  if (record.activity === 'stopping') return 'stop';
  return record.published && isAlive ? 'adopt' : 'stop';
}

/**
 * Takes the locks of all VMs concerned at once, so that requests on them wait, and works in the background: the daemon may listen
 * as soon as this returns.
 */
export function startRecovery(deps: RecoverDeps): { readonly finished: Promise<RecoverReport> } {
  const report: RecoverReport = { adopted: [], rolledBack: [], stopped: [], deleted: [], jobs: [], problems: [] };
  const tasks = deps.store.vms.unsettled().map((record) => {
    const locked = deps.locks.acquire(record.id, { holder: recoveryHolder });
    return async (): Promise<void> => {
      const release = await locked;
      try {
        await recoverVm(deps, record, report);
      } catch (error) {
        deps.log.error({ vm: record.name, err: error }, 'recovery failed');
        report.problems.push(toProblem('core.recover', error));
      } finally {
        release();
      }
    };
  });
  const jobTasks = deps.store.ledger.jobs().map((row) => async (): Promise<void> => {
    const problem = await deps.jobs.undo(row);
    if (problem) report.problems.push(problem);
    else report.jobs.push(row.step);
  });
  return { finished: runAll([...tasks, ...jobTasks]).then(() => report) };
}

async function recoverVm(deps: RecoverDeps, record: VmRecord, report: RecoverReport): Promise<void> {
  const op = backgroundScope(deps.log);
  const options = { reason: 'recover', opId: op.opId, log: op.log, endReason: 'unknown' } as const;
  const lifeline = lifelineProcess(deps.store.ledger.lifeline(record.id));
  const decision = decide(record, lifeline !== undefined && deps.processes.isAlive(lifeline));
  op.log.info({ vm: record.name, decision, activity: record.activity }, 'recovering');
  switch (decision) {
    case 'adopt':
      await adopt(deps, deps.toVm(record), op.log);
      report.adopted.push(record.name);
      return;
    case 'rollback':
      report.problems.push(...await deps.settle.rollback(record, {
        ...options,
        error: { code: 'operation_failed', message: `The start of VM ${record.name} was interrupted: the daemon ended`, ...(record.activityOp === undefined ? {} : { opId: record.activityOp }) },
      }));
      report.rolledBack.push(record.name);
      return;
    case 'stop':
      report.problems.push(...await deps.settle.stop(record, { ...options, endReason: () => foundEnd(record, deps.takeEnd?.(record.id), 'unknown') }));
      report.stopped.push(record.name);
      return;
    case 'delete':
      report.problems.push(...await deps.settle.remove(record, options));
      report.deleted.push(record.name);
  }
}

/** Listeners and sessions of a VM that lived on; one that cannot be had again is logged and the VM stays. */
async function adopt(deps: RecoverDeps, vm: Vm, log: Logger): Promise<void> {
  const byName = new Map(deps.steps.map((registration) => [registration.step.name, registration]));
  for (const row of deps.store.ledger.byOwner(`vm:${vm.id}`)) {
    const registration = byName.get(row.step);
    if (registration?.step.adopt === undefined || row.state !== 'done') continue;
    const { step, plugin } = registration;
    const limitMs = step.undoTimeoutMs ?? defaultUndoTimeoutMs;
    const outcome = await bound(
      { limitMs, graceMs: 0, expired: () => timedOut(`${step.name} to adopt ${vm.name}`, limitMs, step.name) },
      (signal) => step.adopt?.({ vm, signal, log: log.child({ plugin, step: step.name }), reason: 'recover' }, row.plan, row.handle ?? null));
    if (outcome.kind === 'failed') log.error({ vm: vm.name, step: step.name, err: outcome.error }, 'adopting failed');
  }
}

async function runAll(tasks: readonly (() => Promise<void>)[]): Promise<void> {
  const queue = tasks.values();
  const worker = async (): Promise<void> => { for (const task of queue) await task(); };
  await Promise.all(Array.from({ length: Math.min(atOnce, tasks.length) }, worker));
}
