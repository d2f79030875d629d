// Work outside a VM's life that uses long helper programs or staging files, in the same ledger as the steps.
import { createVmId } from '../ids.ts';
import { BangerError, pluginFailed, timedOut } from '../errors.ts';
import type { Processes } from '../capabilities.ts';
import type { Job, Json, Logger, RunJob } from '../plugin-api.ts';
import type { LedgerOwner, LedgerRow } from '../store/ledger.ts';
import type { Store } from '../store/store.ts';
import { tryWrite } from '../store/try-write.ts';
import { bound } from './deadline.ts';
import { storeProblem, toProblem } from './teardown.ts';
import type { UndoProblem } from './teardown.ts';

/** Removing a staging tree of some gigabytes takes seconds on a slow disk. */
const undoTimeoutMs = 30_000;
const killLimitMs = 5_000;

export interface JobRunnerDeps {
  readonly store: Store;
  readonly processes: Processes;
  readonly log: Logger;
}
export interface JobRunner {
  /**
   * Makes the runner of a job; for `ctx.job` of the plugin host.
   *
   * @throws internal when the name is taken
   */
  register<P extends Json>(plugin: string, job: Job<P>): RunJob<P>;
  /** Undoes a job's row that is not being worked on. Resolves to a problem when something is left. */
  undo(row: LedgerRow): Promise<UndoProblem | undefined>;
  /** Whether this process works on the row's job now. */
  isActive(owner: LedgerOwner): boolean;
  /** Job names by plugin, for listings. */
  readonly names: ReadonlyMap<string, string>;
}

interface Registered { readonly plugin: string; readonly job: Job<Json> }

export function createJobRunner(deps: JobRunnerDeps): JobRunner {
  const { store, processes } = deps;
  const jobs = new Map<string, Registered>();
  const active = new Set<string>();
  const names = new Map<string, string>();

  const undo = async (row: LedgerRow): Promise<UndoProblem | undefined> => {
    // A full disk stops no undo: removing a staging tree is what makes room.
    tryWrite(deps.log, `undoing of ${row.step}`, () => store.ledger.setState(row.seq, 'undoing'));
    const error = await undoJob(deps, jobs.get(row.step), row);
    if (error === undefined) {
      const unwritten = tryWrite(deps.log, `undo of ${row.step}`, () => store.ledger.delete(row.seq));
      return unwritten === undefined ? undefined : storeProblem(unwritten);
    }
    const problem = toProblem(row.step, error);
    tryWrite(deps.log, `failed undo of ${row.step}`, () => store.ledger.setUndoFailed(row.seq, problem.message));
    deps.log.error({ job: row.step, err: error }, 'undo failed');
    return problem;
  };

  return {
    names,
    undo,
    isActive: (owner) => active.has(owner),
    register(plugin, job) {
      if (jobs.has(job.name)) throw new BangerError('internal', `Two jobs are named ${job.name}`);
      // The ledger gives back the very plan it was given, so the erased type is sound.
      jobs.set(job.name, { plugin, job: job as unknown as Job<Json> });
      names.set(job.name, plugin);
      return async (plan, call, fn) => {
        const id = createVmId();
        const owner: LedgerOwner = `job:${id}`;
        active.add(owner);
        try {
          const seq = store.ledger.insert({
            owner, step: job.name, plugin, lifetime: 'job', lifeline: false, plan, opId: call.opId, hostBootId: processes.hostBootId,
          });
          store.ledger.setState(seq, 'running');
          return await runOne(owner, seq, () => fn({ mark: markOf(store, owner, job.name), signal: call.signal }));
        } finally {
          active.delete(owner);
        }
      };
    },
  };

  async function runOne<R>(owner: LedgerOwner, seq: number, fn: () => Promise<R>): Promise<R> {
    try {
      const result = await fn();
      store.ledger.delete(seq);
      return result;
    } catch (error) {
      const row = store.ledger.byOwner(owner).find((candidate) => candidate.seq === seq);
      // The cause stays the cause: a problem of the undo is in the log and in doctor.
      if (row !== undefined) await undo(row);
      throw error;
    }
  }
}

function markOf(store: Store, owner: LedgerOwner, job: string): string {
  return `${store.installId}/job-${owner.slice('job:'.length)}/${job}`;
}

async function undoJob(deps: JobRunnerDeps, registered: Registered | undefined, row: LedgerRow): Promise<unknown> {
  const mark = markOf(deps.store, row.owner, row.step);
  try {
    const found = deps.processes.findByMark(mark);
    await Promise.all(found.map(({ process }) => deps.processes.end(process, { graceMs: 0, limitMs: killLimitMs })));
  } catch (error) {
    return error;
  }
  if (registered === undefined) return pluginFailed(row.plugin, `it is not active, so job ${row.step} cannot be undone`);
  const log = deps.log.child({ plugin: registered.plugin, job: row.step });
  const outcome = await bound(
    { limitMs: undoTimeoutMs, graceMs: 1_000, expired: () => timedOut(`undo of ${row.step}`, undoTimeoutMs, row.step) },
    (signal) => registered.job.undo(row.plan, { signal, log }));
  return outcome.kind === 'returned' ? undefined : outcome.error ?? new Error('undo failed without a reason');
}
