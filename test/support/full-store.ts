// A database that refuses every write, as on a full disk: triggers made through a connection of our own, so that the product's code meets
// a real error of SQLite.
import Sqlite from 'better-sqlite3';
import type { Paths } from '../../core/paths.ts';

const tables = ['vms', 'ledger', 'operations'];
const writes = ['INSERT', 'UPDATE', 'DELETE'];

/** Returns a function that lets writes through again. */
export function refuseWrites(paths: Pick<Paths, 'database'>): () => void {
  const names = tables.flatMap((table) => writes.map((write) => ({ table, write, name: `full_${table}_${write}` })));
  alter(paths, names.map(({ table, write, name }) =>
    `CREATE TRIGGER ${name} BEFORE ${write} ON ${table} BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END;`));
  return () => alter(paths, names.map(({ name }) => `DROP TRIGGER IF EXISTS ${name};`));
}

function alter(paths: Pick<Paths, 'database'>, statements: readonly string[]): void {
  const db = new Sqlite(paths.database);
  try {
    db.exec(statements.join('\n'));
  } finally {
    db.close();
  }
}
