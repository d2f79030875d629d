// Opens the one database of a state directory. better-sqlite3 is synchronous: transactions are short and never await.
import { chmodSync, existsSync, mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import type { Database } from 'better-sqlite3';
import { BangerError, busy, isBangerError } from '../errors.ts';
import { migrate } from './migrate.ts';
import type { Migration } from './migrate.ts';

/** File names in the state directory. */
export const databaseFileName = 'banger.db';
export const lockFileName = 'daemon.lock';

const busyTimeoutMs = 5_000;

/** Proof that this process owns the state directory; ends with the process or with `release`. */
export interface StateLock { release(): void }

/**
 * Makes this process the only daemon of a state directory.
 *
 * Node has no flock: the lock is SQLite's exclusive one on an empty database of its own, which the kernel drops when the process ends,
 * however it ends.
 *
 * @throws busy when another daemon holds it.
 */
export function lockStateDir(stateDir: string): StateLock {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const file = join(stateDir, lockFileName);
  const db = new Sqlite(file, { timeout: 0 });
  try {
    chmodSync(file, 0o600);
    db.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    db.close();
    if (sqliteCode(error).startsWith('SQLITE_BUSY')) throw busy(`State directory ${stateDir}`, 'another daemon runs on it');
    throw error;
  }
  return { release: () => { if (db.open) db.close(); } };
}

/**
 * Opens the database and brings its schema up to date.
 *
 * @throws incompatible when a newer version made it; operation_failed, naming `bangerd --reset-store`, when it is corrupt.
 */
export function openDatabase(stateDir: string, list?: readonly Migration[]): Database {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const file = join(stateDir, databaseFileName);
  let db: Database | undefined;
  try {
    db = new Sqlite(file, { timeout: busyTimeoutMs });
    chmodSync(file, 0o600);
    db.pragma('journal_mode = WAL');
    // FULL: a ledger row must be on disk before its step touches the host, power loss included.
    db.pragma('synchronous = FULL');
    db.pragma('foreign_keys = ON');
    requireSound(db);
    migrate(db, list);
    return db;
  } catch (error) {
    db?.close();
    if (isBangerError(error)) throw error;
    if (isCorruption(error)) throw corruptStore(file, error);
    throw error;
  }
}

/**
 * Moves a database aside, with its journal; nothing is deleted. Only on request of the person.
 *
 * @returns the new path of the database, or undefined when there was none.
 */
export function resetStore(stateDir: string, now: () => Date = () => new Date()): string | undefined {
  const file = join(stateDir, databaseFileName);
  if (!existsSync(file)) return undefined;
  const aside = `${file}.${now().toISOString().replaceAll(/[:.]/g, '-')}.aside`;
  // The journal belongs to the database under its name: SQLite finds it as <name>-wal.
  for (const suffix of ['-wal', '-shm', '']) {
    if (existsSync(file + suffix)) renameSync(file + suffix, aside + suffix);
  }
  return aside;
}

function requireSound(db: Database): void {
  // quick_check skips the index comparison: it costs a few milliseconds with a thousand VMs and finds torn pages.
  const answer = db.pragma('quick_check(1)', { simple: true });
  if (answer !== 'ok') throw Object.assign(new Error(String(answer)), { code: 'SQLITE_CORRUPT' });
}

function sqliteCode(error: unknown): string {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' ? code : '';
}

function isCorruption(error: unknown): boolean {
  const code = sqliteCode(error);
  return code.startsWith('SQLITE_CORRUPT') || code.startsWith('SQLITE_NOTADB');
}

function corruptStore(file: string, cause: unknown): BangerError {
  return new BangerError('operation_failed', `The database ${file} is corrupt`, {
    hint: 'bangerd --reset-store moves it aside and begins a new one; banger reclaim then finds what the old one knew',
    cause,
  });
}
