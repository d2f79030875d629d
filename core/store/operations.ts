// Rows of table `operations`.
import type { Database } from 'better-sqlite3';
import type { OperationView } from '../api.ts';
import type { TimelineEntry } from '../model.ts';

/** What the wire shows of an operation; `done` follows from its state and is not kept. Times are RFC 3339. */
export type OperationRecord = Omit<OperationView, 'done'>;
interface Row {
  id: string; kind: string; subject: string | null; state: OperationRecord['state']; stage: string | null; detail: string | null;
  started_at: string; finished_at: string | null; error: string | null; timeline: string;
}

export interface OperationStore {
  save(record: OperationRecord): void;
  /** Oldest first. */
  list(): OperationRecord[];
  /** Operations that a dead daemon left running become failed; returns how many. */
  interrupt(error: { readonly code: string; readonly message: string }, finishedAt: string): number;
  /** Removes finished operations beyond the newest `keep` and those that finished before `before` (RFC 3339). */
  prune(keep: number, before: string): void;
}

export function createOperationStore(db: Database): OperationStore {
  const save = db.prepare(`
    INSERT INTO operations (id, kind, subject, state, stage, detail, started_at, finished_at, error, timeline)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET subject = excluded.subject, state = excluded.state, stage = excluded.stage, detail = excluded.detail,
      finished_at = excluded.finished_at, error = excluded.error, timeline = excluded.timeline`);
  const list = db.prepare<[], Row>('SELECT * FROM operations ORDER BY started_at, rowid');
  const interrupt = db.prepare("UPDATE operations SET state = 'failed', error = ?, finished_at = ? WHERE state = 'running'");
  const prune = db.prepare(`
    DELETE FROM operations WHERE state <> 'running' AND (finished_at < ? OR id NOT IN (
      SELECT id FROM operations WHERE state <> 'running' ORDER BY finished_at DESC, rowid DESC LIMIT ?))`);
  return {
    save: (r) => {
      save.run(r.id, r.kind, r.subject ?? null, r.state, r.stage ?? null, r.detail ?? null, r.startedAt, r.finishedAt ?? null,
        r.error === undefined ? null : JSON.stringify(r.error), JSON.stringify(r.timeline));
    },
    list: () => list.all().map(fromRow),
    interrupt: (error, finishedAt) => interrupt.run(JSON.stringify(error), finishedAt).changes,
    prune: (keep, before) => { prune.run(before, keep); },
  };
}

function fromRow(row: Row): OperationRecord {
  return {
    id: row.id, kind: row.kind, state: row.state, startedAt: row.started_at,
    timeline: JSON.parse(row.timeline) as TimelineEntry[],
    ...(row.subject === null ? {} : { subject: row.subject }),
    ...(row.stage === null ? {} : { stage: row.stage }),
    ...(row.detail === null ? {} : { detail: row.detail }),
    ...(row.finished_at === null ? {} : { finishedAt: row.finished_at }),
    ...(row.error === null ? {} : { error: JSON.parse(row.error) as { code: string; message: string } }),
  };
}
