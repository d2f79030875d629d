// The store: one database, one object per table.
import { randomBytes } from 'node:crypto';
import { openDatabase } from './database.ts';
import { createLedgerStore } from './ledger.ts';
import type { LedgerStore } from './ledger.ts';
import { createOperationStore } from './operations.ts';
import type { OperationStore } from './operations.ts';
import { createVmStore } from './vms.ts';
import type { VmStore } from './vms.ts';

export interface Store {
  /** 8 hex digits, made with the database: first part of every mark. */
  readonly installId: string;
  readonly vms: VmStore;
  readonly ledger: LedgerStore;
  readonly operations: OperationStore;
  /** All or nothing. `work` is synchronous. */
  transaction<T>(work: () => T): T;
  close(): void;
}

/**
 * Opens the store of a state directory. Hold its lock (`lockStateDir`) before.
 *
 * @throws incompatible, operation_failed as `openDatabase`.
 */
export function openStore(stateDir: string): Store {
  const db = openDatabase(stateDir);
  db.prepare("INSERT INTO meta (key, value) VALUES ('install_id', ?) ON CONFLICT DO NOTHING").run(randomBytes(4).toString('hex'));
  const installId = db.prepare<[], { value: string }>("SELECT value FROM meta WHERE key = 'install_id'").get()?.value ?? '';
  return {
    installId,
    vms: createVmStore(db),
    ledger: createLedgerStore(db),
    operations: createOperationStore(db),
    transaction: (work) => db.transaction(work).immediate(),
    close: () => { if (db.open) db.close(); },
  };
}
