import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Vm } from '../../core/plugin-api.ts';
import { memoryLog } from '../../test/support/rpc-fixture.ts';
import type { LogLine } from '../../test/support/rpc-fixture.ts';
import { createLastFigures } from './last.ts';

let vm: Vm;
const log: LogLine[] = [];
beforeEach(() => {
  log.length = 0;
  vm = { id: 'aaaaaaaaaaaa', name: 'devbox', dir: mkdtempSync(join(tmpdir(), 'banger-last-')) } as Vm;
});
afterEach(() => { rmSync(vm.dir, { recursive: true, force: true }); });
const fresh = () => createLastFigures(memoryLog(log));
const file = (): string => join(vm.dir, 'stats.json');
const known = { atMs: 1000, host: { cpuSeconds: 1, rssBytes: 2, threads: 3 }, network: { rxBytes: 1, txBytes: 2 }, uptimeSeconds: 9 };

test('figures outlive the daemon, in a file that is the owner\'s alone', async () => {
  await fresh().save(vm, known);
  expect(await fresh().of(vm)).toEqual(known);
  expect(statSync(file()).mode & 0o777).toBe(0o600);
  expect(readdirSync(vm.dir)).toEqual(['stats.json']);
});

test('writes at once do not mix, and the last one stays', async () => {
  const last = fresh();
  await Promise.all(Array.from({ length: 20 }, (_, n) => last.save(vm, { ...known, atMs: n })));
  expect(await fresh().of(vm)).toMatchObject({ atMs: 19 });
  expect(readdirSync(vm.dir)).toEqual(['stats.json']);
});

test('a directory that is gone is not made again, and no word is lost about it', async () => {
  rmSync(vm.dir, { recursive: true });
  await fresh().save(vm, known);
  expect(existsSync(vm.dir)).toBe(false);
  expect(log).toEqual([]);
});

const valid = (): Record<string, unknown> => ({ version: 1, vm: 'aaaaaaaaaaaa', ...known });
test.each([
  ['another VM\'s', () => ({ ...valid(), vm: 'bbbbbbbbbbbb' })],
  ['a later version\'s', () => ({ ...valid(), version: 2 })],
  ['of negative figures', () => ({ ...valid(), host: { cpuSeconds: -1, rssBytes: 2, threads: 3 } })],
  ['of other types', () => ({ ...valid(), network: { rxBytes: '1', txBytes: 2 } })],
  ['of a time that is none', () => ({ ...valid(), atMs: 9e15 })],
  ['with more in it', () => ({ ...valid(), more: true })],
  ['a list', () => [valid()]],
  ['much too long', () => ({ ...valid(), pad: 'x'.repeat(20_000) })],
])('a file that is %s is ignored', async (_, content) => {
  writeFileSync(file(), JSON.stringify(content()));
  expect(await fresh().of(vm)).toBeUndefined();
});

test('neither a link, a cut file, a directory nor a file that cannot be read is followed or fails', async () => {
  writeFileSync(join(vm.dir, 'other'), JSON.stringify(valid()));
  symlinkSync(join(vm.dir, 'other'), file());
  expect(await fresh().of(vm)).toBeUndefined();
  rmSync(file());
  writeFileSync(file(), JSON.stringify(valid()).slice(0, 40));
  expect(await fresh().of(vm)).toBeUndefined();
  await fresh().save(vm, known);
  expect(JSON.parse(readFileSync(file(), 'utf8'))).toEqual(valid());
  chmodSync(file(), 0);
  const read = await fresh().of(vm);
  expect(process.getuid?.() === 0 ? undefined : read).toBeUndefined();
});
