// Rows of table `ledger`: every change to the host, written before it is made and removed once it is undone.
import type { Database } from 'better-sqlite3';
import type { Json } from '../model.ts';

/** planned -> running -> done -> undoing -> (row gone) | undo_failed -> undoing ... */
export type LedgerState = 'planned' | 'running' | 'done' | 'undoing' | 'undo_failed';
export type LedgerLifetime = 'run' | 'vm' | 'job';
export type LedgerOwner = `vm:${string}` | `job:${string}`;

export interface LedgerRow {
  readonly seq: number;
  readonly owner: LedgerOwner;
  readonly step: string;
  readonly plugin: string;
  readonly lifetime: LedgerLifetime;
  readonly lifeline: boolean;
  readonly state: LedgerState;
  readonly plan: Json;
  /** Absent until `run` returned. */
  readonly handle?: Json;
  readonly opId: string;
  /** Boot id of the host when the row was written. */
  readonly hostBootId: string;
  readonly error?: string;
}
export type NewLedgerRow = Omit<LedgerRow, 'seq' | 'state' | 'handle' | 'error'>;

interface Row {
  seq: number; owner: LedgerOwner; step: string; plugin: string; lifetime: LedgerLifetime; lifeline: number; state: LedgerState;
  plan: string; handle: string | null; op_id: string; host_boot_id: string; error: string | null;
}

export interface LedgerStore {
  /** Writes a row in state `planned`; it is on disk when this returns. */
  insert(row: NewLedgerRow): number;
  setState(seq: number, state: LedgerState): void;
  /** State `done` with what the step acquired. */
  setDone(seq: number, handle: Json): void;
  setUndoFailed(seq: number, error: string): void;
  delete(seq: number): void;
  /** In rising sequence: the order in which the steps began. */
  byOwner(owner: LedgerOwner): LedgerRow[];
  byState(state: LedgerState): LedgerRow[];
  jobs(): LedgerRow[];
  has(owner: LedgerOwner, step: string): boolean;
  /** Handle of the lifeline row by VM id, for every VM that has one. */
  lifelines(): Map<string, Json>;
  lifeline(vmId: string): Json | undefined;
  count(): number;
}

export function createLedgerStore(db: Database, now: () => Date = () => new Date()): LedgerStore {
  const insert = db.prepare(`
    INSERT INTO ledger (owner, step, plugin, lifetime, lifeline, state, plan, op_id, host_boot_id, created_at)
    VALUES (?, ?, ?, ?, ?, 'planned', ?, ?, ?, ?)`);
  const setState = db.prepare('UPDATE ledger SET state = ? WHERE seq = ?');
  const setDone = db.prepare("UPDATE ledger SET state = 'done', handle = ? WHERE seq = ?");
  const setUndoFailed = db.prepare("UPDATE ledger SET state = 'undo_failed', error = ? WHERE seq = ?");
  const remove = db.prepare('DELETE FROM ledger WHERE seq = ?');
  const byOwner = db.prepare<[string], Row>('SELECT * FROM ledger WHERE owner = ? ORDER BY seq');
  const byState = db.prepare<[string], Row>('SELECT * FROM ledger WHERE state = ? ORDER BY seq');
  const jobs = db.prepare<[], Row>("SELECT * FROM ledger WHERE lifetime = 'job' ORDER BY seq");
  const has = db.prepare<[string, string], { n: number }>('SELECT 1 AS n FROM ledger WHERE owner = ? AND step = ?');
  const lifelines = db.prepare<[], { owner: string; handle: string }>(
    'SELECT owner, handle FROM ledger WHERE lifeline = 1 AND handle IS NOT NULL');
  const lifeline = db.prepare<[string], { handle: string }>(
    'SELECT handle FROM ledger WHERE lifeline = 1 AND owner = ? AND handle IS NOT NULL');
  const count = db.prepare<[], { n: number }>('SELECT COUNT(*) AS n FROM ledger');
  return {
    insert: (row) => Number(insert.run(
      row.owner, row.step, row.plugin, row.lifetime, row.lifeline ? 1 : 0, JSON.stringify(row.plan), row.opId, row.hostBootId,
      now().toISOString()).lastInsertRowid),
    setState: (seq, state) => { setState.run(state, seq); },
    // A step without anything to remember returns undefined, which JSON does not know.
    setDone: (seq, handle) => { setDone.run(JSON.stringify(handle ?? null), seq); },
    setUndoFailed: (seq, error) => { setUndoFailed.run(error, seq); },
    delete: (seq) => { remove.run(seq); },
    byOwner: (owner) => byOwner.all(owner).map(fromRow),
    byState: (state) => byState.all(state).map(fromRow),
    jobs: () => jobs.all().map(fromRow),
    has: (owner, step) => has.get(owner, step) !== undefined,
    lifelines: () => new Map(lifelines.all().map((row) => [row.owner.slice('vm:'.length), JSON.parse(row.handle) as Json])),
    lifeline: (vmId) => {
      const row = lifeline.get(`vm:${vmId}`);
      return row === undefined ? undefined : JSON.parse(row.handle) as Json;
    },
    count: () => count.get()?.n ?? 0,
  };
}

function fromRow(row: Row): LedgerRow {
  return {
    seq: row.seq, owner: row.owner, step: row.step, plugin: row.plugin, lifetime: row.lifetime, lifeline: row.lifeline === 1,
    state: row.state, plan: JSON.parse(row.plan) as Json, opId: row.op_id, hostBootId: row.host_boot_id,
    ...(row.handle === null ? {} : { handle: JSON.parse(row.handle) as Json }),
    ...(row.error === null ? {} : { error: row.error }),
  };
}
