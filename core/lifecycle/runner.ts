// Runs a start plan: a ledger row before each step, its handle right after, and the reverse path when anything fails.
import { BangerError, cancelled, isBangerError, isExpected, operationFailed, timedOut } from '../errors.ts';
import type { HostInfo, Processes, VmEnd } from '../capabilities.ts';
import type { Json, StartContext, TimelineEntry, Vm } from '../plugin-api.ts';
import type { LedgerOwner, LedgerRow } from '../store/ledger.ts';
import type { Store } from '../store/store.ts';
import { endText } from '../vm/end.ts';
import { bound } from './deadline.ts';
import { watchLifeline } from './lifeline.ts';
import type { FaultPoints } from './faults.ts';
import type { StartHook } from './hooks.ts';
import { limitOf } from './phases.ts';
import type { PlannedStep, StartPlan } from './planner.ts';
import type { StepRegistration } from './registrations.ts';
import type { OperationScope } from './scope.ts';
import type { Teardown, UndoProblem } from './teardown.ts';

export interface RunnerDeps {
  readonly store: Store;
  readonly hook: StartHook;
  readonly teardown: Teardown;
  readonly hostInfo: Pick<HostInfo, 'slowdown'>;
  readonly processes: Processes;
  readonly faults: FaultPoints;
  /** What was learned, while the start was undone, of the end of its VMM. */
  readonly takeEnd?: ((vmId: string) => VmEnd | undefined) | undefined;
}

/** One start in progress. */
interface Run {
  readonly vm: Vm;
  readonly plan: StartPlan;
  readonly op: OperationScope;
  readonly owner: LedgerOwner;
  readonly beganAt: number;
  readonly planned: ReadonlyMap<string, PlannedStep>;
  /** Rows of earlier starts that are kept, by step name. */
  readonly kept: ReadonlyMap<string, LedgerRow>;
  /** Aborted when the VMM ends by itself while later steps still wait for its guest. */
  readonly died: AbortController;
  /** Called when the start is over. */
  readonly ends: (() => void)[];
}

/** What a failed start was: where, why, and what its rollback left. */
class StepFailure extends Error {
  readonly registration: StepRegistration;
  constructor(registration: StepRegistration, cause: unknown) {
    super(`step ${registration.step.name} failed`, { cause });
    this.registration = registration;
  }
}

/**
 * Runs all planned steps. When one fails, everything this operation began is undone, the failing step included.
 *
 * @throws start_failed with the step's error as cause; cancelled when the operation was. Both carry `detail.undo`.
 */
export async function runStart(deps: RunnerDeps, start: { readonly vm: Vm; readonly plan: StartPlan; readonly op: OperationScope }): Promise<void> {
  const { vm, plan, op } = start;
  const owner: LedgerOwner = `vm:${vm.id}`;
  const run: Run = {
    vm, plan, op, owner, beganAt: performance.now(),
    planned: new Map(plan.steps.map((planned) => [planned.registration.step.name, planned])),
    kept: new Map(deps.store.ledger.byOwner(owner).map((row) => [row.step, row])),
    died: new AbortController(), ends: [],
  };
  try {
    await deps.hook.run((registration) => perform(deps, run, registration));
  } catch (error) {
    const wasCancelled = op.signal.aborted;
    op.stage('undo', `undoing the start of ${vm.name}`);
    const rows = deps.store.ledger.byOwner(owner).filter((row) => run.kept.get(row.step)?.seq !== row.seq);
    const problems = await deps.teardown(vm, rows, { reason: 'rollback', log: op.log });
    const end = deps.takeEnd?.(vm.id);
    throw wasCancelled ? toCancelled(run, error, problems) : toStartError(run, error, { problems, end });
  } finally {
    for (const end of run.ends) end();
  }
}

async function perform(deps: RunnerDeps, run: Run, registration: StepRegistration): Promise<void> {
  const { step, plugin } = registration;
  const planned = run.planned.get(step.name);
  const entry: TimelineEntry = { name: step.name, plugin, atMs: performance.now() - run.beganAt };
  if (planned === undefined || run.kept.has(step.name)) {
    run.op.timeline({ ...entry, durationMs: 0, outcome: 'skipped' });
    return;
  }
  if (run.op.signal.aborted) throw new StepFailure(registration, run.op.signal.reason);
  run.op.stage(step.name);
  run.op.timeline(entry);
  const beganAt = performance.now();
  let outcome: TimelineEntry['outcome'] = 'failed';
  try {
    await performPlanned(deps, run, planned);
    outcome = 'ok';
  } catch (error) {
    throw error instanceof StepFailure ? error : new StepFailure(registration, error);
  } finally {
    const durationMs = performance.now() - beganAt;
    run.op.timeline({ ...entry, durationMs, outcome });
    run.op.log.debug({ vm: run.vm.name, plugin, step: step.name, durationMs: Math.round(durationMs), outcome }, 'step');
  }
}

async function performPlanned(deps: RunnerDeps, run: Run, { registration, plan }: PlannedStep): Promise<void> {
  const { step, plugin } = registration;
  const { store, faults } = deps;
  const { vm, op } = run;
  const seq = store.ledger.insert({
    owner: run.owner, step: step.name, plugin, lifetime: step.lifetime ?? 'run', lifeline: step.lifeline === true,
    plan: plan.data, opId: op.opId, hostBootId: deps.processes.hostBootId,
  });
  await faults.at('plan-written', step.name, vm);
  store.ledger.setState(seq, 'running');
  await faults.at('run-entered', step.name, vm);
  let waitingFor = `${step.name} of ${vm.name}`;
  const context = (signal: AbortSignal): StartContext => ({
    vm, opId: op.opId, signal, machine: run.plan.machine, guest: run.plan.guest,
    log: op.log.child({ plugin, step: step.name, vm: vm.name }),
    waitingFor: (what) => { waitingFor = what; op.stage(step.name, `waiting for ${what}`); },
    touched: async () => { await faults.at('host-touched', step.name, vm); },
  });
  const limitMs = limitOf(step, deps.hostInfo.slowdown);
  const outcome = await bound<Json>(
    { limitMs, signal: AbortSignal.any([op.signal, run.died.signal]), expired: () => timedOut(waitingFor, limitMs, step.name) },
    (signal) => step.run(context(signal), plan.data) as Promise<Json>);
  if (outcome.kind === 'failed') {
    // Told to end, it ended well after all: what it acquired helps the undo.
    if (outcome.late !== undefined) store.ledger.setDone(seq, outcome.late);
    throw outcome.error;
  }
  await faults.at('run-returned', step.name, vm);
  store.ledger.setDone(seq, outcome.value);
  if (step.lifeline === true) {
    run.ends.push(watchLifeline(deps.processes, outcome.value, () => run.died.abort(
      operationFailed(`The VMM of VM ${vm.name} ended by itself`, { hint: `banger vm logs ${vm.name} shows its console` }))));
  }
  await faults.at('handle-written', step.name, vm);
}

function detailOf(error: unknown, problems: readonly UndoProblem[]): Record<string, unknown> {
  return {
    ...(error instanceof StepFailure ? { step: error.registration.step.name, plugin: error.registration.plugin } : {}),
    ...(problems.length === 0 ? {} : { undo: problems }),
  };
}

function toCancelled(run: Run, error: unknown, problems: readonly UndoProblem[]): BangerError {
  return new BangerError('cancelled', cancelled(`Start of VM ${run.vm.name}`).message,
    { detail: detailOf(error, problems), cause: error instanceof StepFailure ? error.cause : error });
}

function toStartError(run: Run, error: unknown, { problems, end }: { problems: readonly UndoProblem[]; end: VmEnd | undefined }): BangerError {
  const failure = error instanceof StepFailure ? error : undefined;
  const cause = failure?.cause ?? error;
  const known = isBangerError(cause) && isExpected(cause.code) ? cause : undefined;
  const where = failure === undefined ? '' : ` (step ${failure.registration.step.name})`;
  const how = end === undefined ? undefined : endText(end);
  return new BangerError('start_failed', `VM ${run.vm.name} did not start: ${known?.message ?? 'internal error'}${how === undefined ? '' : `: ${how}`}${where}`, {
    cause,
    hint: problems.length > 0 ? 'not everything could be undone; banger doctor names it and banger reclaim retries' : known?.hint,
    detail: { ...known?.detail, ...detailOf(error, problems), code: known?.code ?? 'internal', ...(end === undefined ? {} : { end }) },
  });
}
