// Registry of operations: every long piece of work has an id, a stage, a timeline, a way to end it, and a row that outlives the daemon.
import type { OperationView } from '../api.ts';
import type { Operations } from '../capabilities.ts';
import { systemClock } from '../clock.ts';
import type { Clock } from '../clock.ts';
import { cancelled, isBangerError, isExpected, notFound } from '../errors.ts';
import type { CallContext, Logger, TimelineEntry } from '../plugin-api.ts';
import type { OperationRunner } from '../rpc/dispatch.ts';
import type { OperationRecord, OperationStore } from '../store/operations.ts';
import { tryWrite } from '../store/try-write.ts';

const keepCount = 200;
const keepMs = 24 * 60 * 60 * 1000;
const interrupted = { code: 'operation_failed', message: 'interrupted: the daemon ended meanwhile' } as const;

export interface OperationRegistry extends Operations {
  /** For the RPC server: makes a call an operation. */
  readonly runner: OperationRunner;
  /** Runs work that outlives its call; the operation's id is the call's. Its failure is in the operation, not thrown. */
  spawn(kind: string, subject: string | undefined, call: CallContext, run: (call: CallContext) => Promise<unknown>): OperationView;
  /** Names what the operation works on, once that is known. */
  describe(id: string, subject: string): void;
  /** Operations running now. */
  readonly running: number;
  /** Cancels all and resolves when the last has ended. */
  close(): Promise<void>;
}
export interface OperationDeps {
  readonly store: OperationStore;
  readonly log: Logger;
  readonly clock?: Clock;
}

interface Active { record: OperationRecord; readonly control: AbortController; readonly beganAt: number; readonly ended: Promise<void> }
interface Begin { readonly kind: string; readonly subject: string | undefined; readonly call: CallContext }

/** Operations that a dead daemon left running are shown as failed from now on. */
export function createOperations(deps: OperationDeps): OperationRegistry {
  const clock = deps.clock ?? systemClock;
  const at = (): string => new Date(clock.now()).toISOString();
  const active = new Map<string, Active>();
  // Work goes on when its row cannot be written: on a full disk, deleting something is work, too.
  const write = (what: string, fn: () => void): void => { tryWrite(deps.log, what, fn); };
  const save = (record: OperationRecord): void => write(`operation ${record.id}`, () => deps.store.save(record));
  write('interrupted operations', () => { deps.store.interrupt(interrupted, at()); });
  const finished = new Map(deps.store.list().map((record) => [record.id, record.state === 'running' ? { ...record, state: 'failed' as const, error: interrupted, finishedAt: at() } : record]));

  const prune = (): void => {
    const before = new Date(clock.now() - keepMs).toISOString();
    let excess = finished.size - keepCount;
    for (const [id, record] of finished) {
      if (excess <= 0 && (record.finishedAt ?? '') >= before) continue;
      finished.delete(id);
      excess -= 1;
    }
    write('finished operations', () => deps.store.prune(keepCount, before));
  };
  prune();

  const finish = (op: Active, outcome: Pick<OperationRecord, 'state' | 'error'>): void => {
    active.delete(op.record.id);
    const record: OperationRecord = { ...op.record, ...outcome, finishedAt: at() };
    finished.set(record.id, record);
    save(record);
    prune();
  };

  const perform = async ({ kind, subject, call }: Begin, run: (call: CallContext) => Promise<unknown>): Promise<unknown> => {
    const ended = Promise.withResolvers<void>();
    const op: Active = {
      record: { id: call.opId, kind, ...(subject === undefined ? {} : { subject }), state: 'running', startedAt: at(), timeline: [] },
      control: new AbortController(), beganAt: clock.monotonicMs(), ended: ended.promise,
    };
    active.set(op.record.id, op);
    save(op.record);
    try {
      const result = await run(wrap(op, call, clock));
      finish(op, { state: 'done' });
      return result;
    } catch (error) {
      const shown = op.control.signal.aborted && !isBangerError(error) ? op.control.signal.reason as unknown : error;
      const isCancelled = isBangerError(shown) && shown.code === 'cancelled';
      finish(op, { state: isCancelled ? 'cancelled' : 'failed', error: toError(shown) });
      throw shown;
    } finally {
      ended.resolve();
    }
  };

  const show = (id: string): OperationView => {
    const record = active.get(id)?.record ?? finished.get(id);
    if (record === undefined) throw notFound('operation', id);
    return toView(record);
  };

  return {
    list: () => [...finished.values(), ...[...active.values()].map((op) => op.record)]
      .sort((a, b) => (a.startedAt < b.startedAt ? -1 : 1)).map(toView),
    show,
    cancel(id) {
      const { kind } = show(id);
      active.get(id)?.control.abort(cancelled(`Operation ${kind}`));
    },
    runner: ({ kind }, params, call, run) => perform({ kind, subject: subjectOf(params), call }, run),
    spawn(kind, subject, call, run) {
      perform({ kind, subject, call }, run).catch((error: unknown) => {
        // Kept in the operation, where whoever began it looks.
        call.log.info({ err: error, kind }, 'background operation failed');
      });
      return show(call.opId);
    },
    describe(id, subject) {
      const op = active.get(id);
      if (op !== undefined) op.record = { ...op.record, subject };
    },
    get running() { return active.size; },
    async close() {
      const all = [...active.values()];
      for (const op of all) op.control.abort(cancelled(`Operation ${op.record.kind}`));
      await Promise.all(all.map((op) => op.ended));
    },
  };
}

/** The call as the work sees it: cancellable here too, its stages and steps kept. */
function wrap(op: Active, call: CallContext, clock: Clock): CallContext {
  return {
    opId: call.opId,
    peer: call.peer,
    log: call.log,
    signal: AbortSignal.any([call.signal, op.control.signal]),
    stage(name, detail) {
      const { detail: _, ...rest } = op.record;
      op.record = { ...rest, stage: name, ...(detail === undefined ? {} : { detail }) };
      call.stage(name, detail);
    },
    timeline(entry) {
      // Callers count from when their own part began; the operation's clock is the one that all parts share.
      const atMs = clock.monotonicMs() - op.beganAt - (entry.durationMs ?? 0);
      const own: TimelineEntry = {
        ...entry, atMs: Math.max(0, Math.round(atMs)), ...(entry.durationMs === undefined ? {} : { durationMs: Math.round(entry.durationMs) }),
      };
      const others = op.record.timeline.filter((known) => known.name !== entry.name || known.durationMs !== undefined);
      op.record = { ...op.record, timeline: [...others, own] };
      call.timeline(own);
    },
  };
}

function subjectOf(params: unknown): string | undefined {
  const { name, ref } = (typeof params === 'object' && params !== null ? params : {}) as { readonly name?: unknown; readonly ref?: unknown };
  const subject = name ?? ref;
  return typeof subject === 'string' ? subject : undefined;
}

function toError(error: unknown): { readonly code: string; readonly message: string } {
  return isBangerError(error) && isExpected(error.code) ? { code: error.code, message: error.message } : { code: 'internal', message: 'internal error' };
}

/** A copy that the caller may keep: entries are never changed after they were made. */
function toView(record: OperationRecord): OperationView {
  return { ...record, done: record.state !== 'running', timeline: record.timeline.map((entry) => ({ ...entry })) };
}
