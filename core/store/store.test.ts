import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { VmSpec } from '../model.ts';
import { databaseFileName, lockStateDir, openDatabase, resetStore } from './database.ts';
import { migrate, migrations } from './migrate.ts';
import { openStore } from './store.ts';
import type { Store } from './store.ts';

const spec: VmSpec = {
  image: 'i', imageName: 'image', kernel: 'k', driver: 'fake', vcpu: 1, memoryMiB: 64, init: 'auto', env: {}, sections: { fake: { note: 'x' } },
};
const createdAt = '2026-01-01T00:00:00.000Z';

function tempDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'banger-store-'));
  onTestFinished(() => { rmSync(dir, { recursive: true, force: true }); });
  return dir;
}
function open(dir = tempDir()): Store {
  const store = openStore(dir);
  onTestFinished(() => store.close());
  return store;
}

describe('the lock of a state directory', () => {
  it('is had by one at a time, and again after its release', () => {
    const dir = tempDir();
    const lock = lockStateDir(dir);
    expect(() => lockStateDir(dir)).toThrow(expect.objectContaining({ code: 'busy', message: expect.stringContaining('another daemon') as string }) as Error);
    lock.release();
    lockStateDir(dir).release();
  });
});

describe('opening', () => {
  it('makes a private database that keeps its install id and every commit', () => {
    const dir = tempDir();
    const first = openStore(dir);
    const { installId } = first;
    first.close();
    expect(installId).toMatch(/^[0-9a-f]{8}$/);
    expect(statSync(join(dir, databaseFileName)).mode & 0o777).toBe(0o600);
    expect(open(dir).installId).toBe(installId);
    const db = openDatabase(dir);
    onTestFinished(() => { db.close(); });
    expect([db.pragma('journal_mode', { simple: true }), db.pragma('synchronous', { simple: true }), db.pragma('foreign_keys', { simple: true })])
      .toEqual(['wal', 2, 1]);
  });

  it('refuses a database of a newer version', () => {
    const dir = tempDir();
    openDatabase(dir, [...migrations, { id: migrations.length + 1, name: 'later', sql: 'CREATE TABLE later (x)' }]).close();
    expect(() => openStore(dir)).toThrow(expect.objectContaining({
      code: 'incompatible', message: `The database was made by a newer version of banger (schema ${migrations.length + 1}, this version knows ${migrations.length})`,
      hint: expect.stringContaining('--reset-store') as string,
    }) as Error);
  });

  it.each([['no database at all', (): Buffer => Buffer.alloc(8192, 'garbage ')], ['torn pages', (file: string): Buffer => {
    const data = readFileSync(file);
    data.fill(0xff, 4096, 4096 * 4);
    return data;
  }]])('names the way out of %s, and moves it aside only when asked', (_, damage) => {
    const dir = tempDir();
    const store = openStore(dir);
    for (let slot = 1; slot < 50; slot += 1) store.vms.insert({ id: String(slot), name: `vm-${slot}`, slot, spec, createdAt, lease: false });
    store.close();
    const file = join(dir, databaseFileName);
    writeFileSync(file, damage(file));
    const damaged = readFileSync(file);
    expect(() => openStore(dir)).toThrow(expect.objectContaining({ code: 'operation_failed', hint: expect.stringContaining('bangerd --reset-store') as string }) as Error);
    expect(readFileSync(file).equals(damaged)).toBe(true);
    const aside = resetStore(dir);
    expect(readFileSync(aside ?? '').equals(damaged)).toBe(true);
    expect(open(dir).vms.list()).toEqual([]);
    expect(readdirSync(dir)).toContain(aside?.split('/').at(-1));
  });

  it('has nothing to reset where nothing is', () => {
    expect(resetStore(tempDir())).toBeUndefined();
  });
});

describe('migrations', () => {
  it('are applied once each, whole or not at all', () => {
    const db = new Sqlite(':memory:');
    onTestFinished(() => { db.close(); });
    const good = { id: 1, name: 'one', sql: 'CREATE TABLE one (x)' };
    const bad = { id: 2, name: 'two', sql: 'CREATE TABLE two (x); CREATE TABLE one (x)' };
    expect(() => migrate(db, [good, bad])).toThrow(/already exists/);
    const tables = db.prepare<[], { name: string }>("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").all();
    expect(tables.map(({ name }) => name)).toEqual(['one', 'schema_migrations']);
    migrate(db, [good]);
    expect(db.prepare('SELECT id, name FROM schema_migrations').all()).toEqual([{ id: 1, name: 'one' }]);
  });

  it('are numbered without gaps', () => {
    expect(migrations.map(({ id }) => id)).toEqual(migrations.map((_, index) => index + 1));
  });
});

describe('VMs', () => {
  it('of the first schema keep their end, of which the time and the details were not known', () => {
    const dir = tempDir();
    const old = openDatabase(dir, migrations.slice(0, 1));
    old.prepare('INSERT INTO vms (id, name, slot, spec, created_at, end_reason) VALUES (?, ?, ?, ?, ?, ?)').run('a', 'devbox', 1, JSON.stringify(spec), createdAt, 'guest-panic');
    old.close();
    const { vms } = open(dir);
    expect(vms.get('a')).toMatchObject({ endReason: 'guest-panic' });
    expect(vms.get('a')).not.toHaveProperty('ended');
    vms.update('a', { ended: { at: createdAt, detail: ['crash'] } });
    expect(vms.get('a')?.ended).toEqual({ at: createdAt, detail: ['crash'] });
    vms.update('a', { endReason: undefined, ended: undefined });
    expect(vms.get('a')).not.toHaveProperty('ended');
  });

  it('come back as they were, and fields can be cleared', () => {
    const { vms } = open();
    vms.insert({ id: 'a', name: 'devbox', slot: 1, spec, createdAt, lease: true });
    expect(vms.get('a')).toEqual({ id: 'a', name: 'devbox', slot: 1, spec, createdAt, lease: true, published: false, reboots: 0 });
    vms.update('a', { activity: 'starting', activityOp: 'op-1', lastError: { code: 'x', message: 'y' }, published: true, lease: false });
    expect(vms.getByName('devbox')).toMatchObject({ activity: 'starting', activityOp: 'op-1', lastError: { code: 'x', message: 'y' }, published: true, lease: false });
    vms.update('a', { activity: undefined, lastError: undefined });
    expect(vms.get('a')).not.toHaveProperty('activity');
    expect(vms.get('a')).not.toHaveProperty('lastError');
    expect(vms.unsettled()).toHaveLength(1);
    vms.update('a', { published: false });
    expect(vms.unsettled()).toEqual([]);
  });

  it('refuse a second of the same name or slot', () => {
    const { vms } = open();
    vms.insert({ id: 'a', name: 'a', slot: 1, spec, createdAt, lease: false });
    expect(() => vms.insert({ id: 'b', name: 'a', slot: 2, spec, createdAt, lease: false })).toThrow(/UNIQUE/);
    expect(() => vms.insert({ id: 'b', name: 'b', slot: 1, spec, createdAt, lease: false })).toThrow(/UNIQUE/);
    expect(vms.freeSlot()).toBe(2);
  });
});

describe('the ledger', () => {
  const row = { owner: 'vm:a', plugin: 'fake', lifetime: 'run', lifeline: false, plan: { path: '/x' }, opId: 'op-1', hostBootId: 'boot' } as const;

  it('keeps rows in the order of their making, and a number is never used twice', () => {
    const { ledger } = open();
    const first = ledger.insert({ ...row, step: 'fake.one' });
    const second = ledger.insert({ ...row, step: 'fake.two', lifeline: true });
    ledger.setDone(second, { process: { pid: 1 } });
    expect(ledger.byOwner('vm:a')).toMatchObject([{ seq: first, state: 'planned', plan: { path: '/x' } }, { seq: second, state: 'done', handle: { process: { pid: 1 } } }]);
    expect(ledger.lifelines()).toEqual(new Map([['a', { process: { pid: 1 } }]]));
    ledger.delete(second);
    expect(ledger.insert({ ...row, step: 'fake.two' })).toBeGreaterThan(second);
    expect(() => ledger.insert({ ...row, step: 'fake.two' })).toThrow(/UNIQUE/);
    ledger.setUndoFailed(first, 'busy');
    expect(ledger.byState('undo_failed')).toMatchObject([{ step: 'fake.one', error: 'busy' }]);
  });
});
