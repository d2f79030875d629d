// Ordered schema changes, each in one transaction together with its row in `schema_migrations`.
import type { Database } from 'better-sqlite3';
import { incompatible } from '../errors.ts';
import { baseline } from './migrations/0001-baseline.ts';
import { end } from './migrations/0002-end.ts';

export interface Migration {
  /** 1, 2, 3 and so on, without gaps. */
  readonly id: number;
  readonly name: string;
  readonly sql: string;
}

/** Every schema change so far, oldest first. Never edit one that was released: add the next. */
export const migrations: readonly Migration[] = [baseline, end];

/**
 * Brings the database to the newest known schema.
 *
 * @throws incompatible when the database knows a migration that this program does not.
 */
export function migrate(db: Database, list: readonly Migration[] = migrations, now: () => Date = () => new Date()): void {
  db.exec('CREATE TABLE IF NOT EXISTS schema_migrations (id INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT');
  const applied = new Set(db.prepare<[], { id: number }>('SELECT id FROM schema_migrations').all().map((row) => row.id));
  const newest = list.at(-1)?.id ?? 0;
  const unknown = [...applied].filter((id) => id > newest);
  if (unknown.length > 0) {
    throw incompatible(
      `The database was made by a newer version of banger (schema ${Math.max(...unknown)}, this version knows ${newest})`,
      'install that version again, or move the database aside with bangerd --reset-store');
  }
  const record = db.prepare('INSERT INTO schema_migrations (id, name, applied_at) VALUES (?, ?, ?)');
  for (const migration of list) {
    if (applied.has(migration.id)) continue;
    db.transaction(() => {
      db.exec(migration.sql);
      record.run(migration.id, migration.name, now().toISOString());
    }).immediate();
  }
}
