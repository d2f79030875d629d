// Rows of table `vms`.
import type { Database } from 'better-sqlite3';
import type { VmEndReason } from '../capabilities.ts';
import type { VmSpec } from '../model.ts';

export type VmActivity = 'starting' | 'stopping' | 'deleting';
export interface VmError { readonly code: string; readonly message: string; readonly opId?: string }

/** `at`: RFC 3339. */
export interface VmEnded { readonly at: string; readonly detail?: readonly string[] }

/** What the store knows of a VM. Whether it runs is not in here: that is derived from its process. */
export interface VmRecord {
  readonly id: string;
  readonly name: string;
  readonly slot: number;
  readonly spec: VmSpec;
  /** RFC 3339. */
  readonly createdAt: string;
  /** Host change in progress, or one that a dead daemon left. */
  readonly activity?: VmActivity;
  /** Operation that set it. */
  readonly activityOp?: string;
  /** A start ended well and no teardown began since. */
  readonly published: boolean;
  readonly startedAt?: string;
  readonly reboots: number;
  /** How the last run ended, until the next start. */
  readonly endReason?: VmEndReason;
  readonly ended?: VmEnded;
  readonly lastError?: VmError;
  /** Deleted when its client goes away. */
  readonly lease: boolean;
}
/** `undefined` clears a field; an absent key leaves it. */
export interface VmPatch {
  readonly activity?: VmActivity | undefined;
  readonly activityOp?: string | undefined;
  readonly published?: boolean;
  readonly startedAt?: string | undefined;
  readonly reboots?: number;
  readonly endReason?: VmEndReason | undefined;
  readonly ended?: VmEnded | undefined;
  readonly lastError?: VmError | undefined;
  readonly lease?: boolean;
  readonly spec?: VmSpec;
}

interface Row {
  id: string; name: string; slot: number; spec: string; created_at: string; activity: VmActivity | null; activity_op: string | null; published: number;
  started_at: string | null; reboots: number; end_reason: VmEndReason | null; ended: string | null; last_error: string | null; lease: number;
}
const columns = {
  activity: 'activity', activityOp: 'activity_op', published: 'published', startedAt: 'started_at', reboots: 'reboots', endReason: 'end_reason', ended: 'ended',
  lastError: 'last_error', lease: 'lease', spec: 'spec',
} as const satisfies Record<keyof VmPatch, string>;

export interface VmStore {
  insert(record: Pick<VmRecord, 'id' | 'name' | 'slot' | 'spec' | 'createdAt' | 'lease'>): void;
  get(id: string): VmRecord | undefined;
  getByName(name: string): VmRecord | undefined;
  /** Oldest first. */
  list(): VmRecord[];
  /** Id and name of every VM, oldest first. */
  names(): { id: string; name: string }[];
  /** VMs that something is to be done about after a daemon start. */
  unsettled(): VmRecord[];
  /** Lowest slot from 1 that no VM has. */
  freeSlot(): number;
  update(id: string, patch: VmPatch): void;
  delete(id: string): void;
}

export function createVmStore(db: Database): VmStore {
  const insert = db.prepare('INSERT INTO vms (id, name, slot, spec, created_at, lease) VALUES (?, ?, ?, ?, ?, ?)');
  const get = db.prepare<[string], Row>('SELECT * FROM vms WHERE id = ?');
  const getByName = db.prepare<[string], Row>('SELECT * FROM vms WHERE name = ?');
  const list = db.prepare<[], Row>('SELECT * FROM vms ORDER BY created_at, slot');
  const names = db.prepare<[], { id: string; name: string }>('SELECT id, name FROM vms ORDER BY created_at, slot');
  const unsettled = db.prepare<[], Row>(`
    SELECT * FROM vms WHERE activity IS NOT NULL OR published = 1 OR lease = 1
      OR EXISTS (SELECT 1 FROM ledger WHERE owner = 'vm:' || vms.id AND (lifetime = 'run' OR state <> 'done'))
    ORDER BY created_at, slot`);
  const freeSlot = db.prepare<[], { slot: number }>(`
    SELECT MIN(candidate) AS slot FROM (SELECT 1 AS candidate UNION ALL SELECT slot + 1 FROM vms)
    WHERE candidate NOT IN (SELECT slot FROM vms)`);
  const remove = db.prepare('DELETE FROM vms WHERE id = ?');
  return {
    insert: (r) => { insert.run(r.id, r.name, r.slot, JSON.stringify(r.spec), r.createdAt, r.lease ? 1 : 0); },
    get: (id) => fromRow(get.get(id)),
    getByName: (name) => fromRow(getByName.get(name)),
    list: () => list.all().map((row) => fromRow(row)),
    names: () => names.all(),
    unsettled: () => unsettled.all().map((row) => fromRow(row)),
    freeSlot: () => freeSlot.get()?.slot ?? 1,
    update: (id, patch) => {
      const keys = (Object.keys(patch) as (keyof VmPatch)[]);
      if (keys.length === 0) return;
      // Column names come from the table above, never from the caller.
      const sets = keys.map((key) => `${columns[key]} = ?`).join(', ');
      db.prepare(`UPDATE vms SET ${sets} WHERE id = ?`).run(...keys.map((key) => toColumn(patch[key])), id);
    },
    delete: (id) => { remove.run(id); },
  };
}

function toColumn(value: VmPatch[keyof VmPatch]): string | number | null {
  if (value === undefined) return null;
  if (typeof value === 'boolean') return value ? 1 : 0;
  return typeof value === 'object' ? JSON.stringify(value) : value;
}

function fromRow(row: Row): VmRecord;
function fromRow(row: Row | undefined): VmRecord | undefined;
function fromRow(row: Row | undefined): VmRecord | undefined {
  if (row === undefined) return undefined;
  return {
    id: row.id, name: row.name, slot: row.slot, spec: JSON.parse(row.spec) as VmSpec, createdAt: row.created_at,
    published: row.published === 1, reboots: row.reboots, lease: row.lease === 1,
    ...(row.activity === null ? {} : { activity: row.activity }),
    ...(row.activity_op === null ? {} : { activityOp: row.activity_op }),
    ...(row.started_at === null ? {} : { startedAt: row.started_at }),
    ...(row.end_reason === null ? {} : { endReason: row.end_reason }),
    ...(row.ended === null ? {} : { ended: JSON.parse(row.ended) as VmEnded }),
    ...(row.last_error === null ? {} : { lastError: JSON.parse(row.last_error) as VmError }),
  };
}
