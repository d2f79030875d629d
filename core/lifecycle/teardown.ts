// The one reverse path: rollback, stop, delete, recovery and reclaim all undo ledger rows here.
import { isBangerError, pluginFailed, timedOut } from '../errors.ts';
import type { Logger, UndoReason, Vm } from '../plugin-api.ts';
import type { LedgerRow } from '../store/ledger.ts';
import type { Store } from '../store/store.ts';
import { tryWrite } from '../store/try-write.ts';
import { bound } from './deadline.ts';
import type { FaultPoints } from './faults.ts';
import type { StepRegistration } from './registrations.ts';

export const defaultUndoTimeoutMs = 10_000;
/** An undo that does not end when told to counts as failed; nothing is gained by waiting for it. */
const undoGraceMs = 1_000;

/** Stands for a step in the problem of a ledger that cannot be written: what it should no longer list is undone all the same. */
export const storeStep = 'core.store';

export interface UndoProblem { readonly step: string; readonly message: string; readonly code: string }

export interface TeardownDeps {
  readonly store: Store;
  readonly steps: readonly StepRegistration[];
  readonly faults: FaultPoints;
  readonly log: Logger;
}
export interface TeardownOptions {
  readonly reason: UndoReason;
  readonly log?: Logger;
}
export type Teardown = (vm: Vm, rows: readonly LedgerRow[], options: TeardownOptions) => Promise<readonly UndoProblem[]>;

/**
 * Undoes rows in falling sequence. All undos run, whatever the others do; each has its own limit and never the caller's signal.
 * A row goes when its undo succeeded and stays as `undo_failed` otherwise. The VM's lock is held by the caller. A full disk stops no
 * undo: rows that could not be removed are tried again at the end, and are a problem of their own when that fails, too.
 */
export function createTeardown(deps: TeardownDeps): Teardown {
  const byName = new Map(deps.steps.map((registration) => [registration.step.name, registration]));
  return async (vm, rows, { reason, log = deps.log }) => {
    const problems: UndoProblem[] = [];
    const falling = [...rows].sort((a, b) => b.seq - a.seq);
    const unmarked: number[] = [];
    // Undos are idempotent, so nothing depends on this mark; it tells people what a dead daemon was at.
    tryWrite(log, `undoing of ${vm.name}`, () => {
      deps.store.transaction(() => { for (const row of falling) deps.store.ledger.setState(row.seq, 'undoing'); });
    });
    for (const row of falling) {
      const error = await undoRow(vm, row, { registration: byName.get(row.step), reason, log, faults: deps.faults });
      if (error === undefined) {
        if (tryWrite(log, `undo of ${row.step}`, () => deps.store.ledger.delete(row.seq)) !== undefined) unmarked.push(row.seq);
        continue;
      }
      const problem = toProblem(row.step, error);
      tryWrite(log, `failed undo of ${row.step}`, () => deps.store.ledger.setUndoFailed(row.seq, problem.message));
      log.error({ vm: vm.name, step: row.step, reason, err: error }, 'undo failed');
      problems.push(problem);
    }
    const unwritten = unmarked.length === 0 ? undefined
      : tryWrite(log, `undoing of ${vm.name}`, () => deps.store.transaction(() => { for (const seq of unmarked) deps.store.ledger.delete(seq); }));
    return unwritten === undefined ? problems : [...problems, storeProblem(unwritten)];
  };
}

interface UndoCall { readonly registration: StepRegistration | undefined; readonly reason: UndoReason; readonly log: Logger; readonly faults: FaultPoints }

async function undoRow(vm: Vm, row: LedgerRow, { registration, reason, log, faults }: UndoCall): Promise<unknown> {
  if (registration === undefined) return pluginFailed(row.plugin, `it is not active, so step ${row.step} of VM ${vm.name} cannot be undone`);
  const { step, plugin } = registration;
  const limitMs = step.undoTimeoutMs ?? defaultUndoTimeoutMs;
  const stepLog = log.child({ plugin, step: step.name, vm: vm.name });
  const outcome = await bound(
    { limitMs, graceMs: undoGraceMs, expired: () => timedOut(`undo of ${step.name} for ${vm.name}`, limitMs, step.name) },
    async (signal) => {
      await faults.at('undo-entered', step.name, vm);
      await step.undo?.({ vm, signal, log: stepLog, reason }, row.plan, row.handle);
    });
  return outcome.kind === 'returned' ? undefined : outcome.error ?? new Error('undo failed without a reason');
}

/** What a person reads of an undoing that could not be noted down. */
export function storeProblem(error: Error): UndoProblem {
  return { step: storeStep, code: 'operation_failed', message: `everything is undone, but the database cannot be written: ${error.message}` };
}

export function toProblem(step: string, error: unknown): UndoProblem {
  return { step, code: isBangerError(error) ? error.code : 'internal', message: error instanceof Error ? error.message : String(error) };
}
