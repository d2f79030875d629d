import type { Migration } from '../migrate.ts';

/** First schema: VMs, the ledger of host changes, operations. */
export const baseline: Migration = {
  id: 1,
  name: 'baseline',
  sql: `
    CREATE TABLE meta (
      key TEXT PRIMARY KEY,
      value TEXT NOT NULL
    ) STRICT;

    CREATE TABLE vms (
      id TEXT PRIMARY KEY,
      name TEXT NOT NULL UNIQUE,
      slot INTEGER NOT NULL UNIQUE,
      spec TEXT NOT NULL,
      created_at TEXT NOT NULL,
      -- Host change in progress; set before it begins, so that a daemon that dies meanwhile leaves a trace.
      activity TEXT CHECK (activity IN ('starting', 'stopping', 'deleting')),
      -- Operation that set it: a rollback undoes only what that operation began.
      activity_op TEXT,
      -- 1 from the end of a start until its teardown began.
      published INTEGER NOT NULL DEFAULT 0,
      started_at TEXT,
      reboots INTEGER NOT NULL DEFAULT 0,
      end_reason TEXT,
      last_error TEXT,
      lease INTEGER NOT NULL DEFAULT 0
    ) STRICT;

    -- AUTOINCREMENT: a number is never used twice, so falling order is the true reverse order.
    CREATE TABLE ledger (
      seq INTEGER PRIMARY KEY AUTOINCREMENT,
      owner TEXT NOT NULL,
      step TEXT NOT NULL,
      plugin TEXT NOT NULL,
      lifetime TEXT NOT NULL CHECK (lifetime IN ('run', 'vm', 'job')),
      lifeline INTEGER NOT NULL DEFAULT 0,
      state TEXT NOT NULL CHECK (state IN ('planned', 'running', 'done', 'undoing', 'undo_failed')),
      plan TEXT NOT NULL,
      handle TEXT,
      op_id TEXT NOT NULL,
      host_boot_id TEXT NOT NULL,
      error TEXT,
      created_at TEXT NOT NULL,
      UNIQUE (owner, step)
    ) STRICT;
    CREATE INDEX ledger_lifeline ON ledger (lifeline) WHERE lifeline = 1;
    CREATE INDEX ledger_state ON ledger (state);

    CREATE TABLE operations (
      id TEXT PRIMARY KEY,
      kind TEXT NOT NULL,
      subject TEXT,
      state TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed', 'cancelled')),
      stage TEXT,
      detail TEXT,
      started_at TEXT NOT NULL,
      finished_at TEXT,
      error TEXT,
      timeline TEXT NOT NULL
    ) STRICT;
    CREATE INDEX operations_started ON operations (started_at);
  `,
};
