import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { operationFailed } from './errors.ts';
import { createLog } from './log.ts';
import type { LogLevel } from './log.ts';

let dir: string;
beforeEach(() => { dir = mkdtempSync(join(tmpdir(), 'banger-log-')); });
afterEach(() => rmSync(dir, { recursive: true }));

function memory(level: LogLevel = 'debug') {
  const lines: Record<string, unknown>[] = [];
  return { lines, log: createLog({ level, to: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) }) };
}

test('writes one JSON line per entry, with the fields of its parents', () => {
  const { lines, log } = memory();
  log.child({ plugin: 'qemu' }).child({ opId: 'op-1' }).info({ n: 1 }, 'started');
  log.warn('plain');
  expect(lines[0]).toMatchObject({ level: 'info', plugin: 'qemu', opId: 'op-1', n: 1, msg: 'started' });
  expect(lines[0]?.['time']).toMatch(/^\d{4}-.*Z$/);
  expect(lines[1]).toMatchObject({ level: 'warn', msg: 'plain' });
});

test('leaves out what is below its level', () => {
  const { lines, log } = memory('warn');
  log.info('no');
  log.child({}).debug('no');
  log.error('yes');
  expect(lines.map((line) => line['msg'])).toEqual(['yes']);
});

test('removes secrets at any depth, also from parents and from errors', () => {
  const { lines, log } = memory();
  log.child({ apiToken: 's3cret' }).info({
    token: 's3cret', env: { DB_PASSWORD: 's3cret', list: [{ Authorization: 's3cret' }] }, privateKey: 's3cret', ssh: { private_key: 's3cret' },
    err: operationFailed('no', { detail: { password: 's3cret', key: 'shown' } }),
  }, 'x');
  expect(JSON.stringify(lines)).not.toContain('s3cret');
  expect(JSON.stringify(lines)).toContain('"key":"shown"');
});

test('prints an error with code, stack and all its causes', () => {
  const { lines, log } = memory();
  const error = operationFailed('top', { cause: new Error('middle', { cause: new TypeError('root') }) });
  log.error({ err: error }, 'failed');
  log.error(error);
  for (const line of lines) {
    expect(line['err']).toMatchObject({
      code: 'operation_failed', message: 'top', cause: { message: 'middle', cause: { type: 'TypeError', message: 'root' } },
    });
  }
  expect(JSON.stringify(lines[0])).toContain('log.test.ts');
});

test('takes circular, deep and binary values', () => {
  const { lines, log } = memory();
  const loop: Record<string, unknown> = { bytes: new Uint8Array(5) };
  loop['self'] = loop;
  const error = new Error('e');
  error.cause = error;
  log.info({ loop, error }, 'x');
  expect(lines[0]).toMatchObject({ loop: { self: '[circular]', bytes: '[5 bytes]' }, error: { cause: '[circular]' } });
});

test('appends to a file that only its owner reads', () => {
  const file = join(dir, 'a.log');
  for (const message of ['first', 'second']) {
    const log = createLog({ to: { file } });
    log.info(message);
    log.close();
    log.info('after the end');
    log.close();
  }
  expect(readFileSync(file, 'utf8').trim().split('\n').map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual(['first', 'second']);
  expect(statSync(file).mode & 0o777).toBe(0o600);
});

test('bounds the file and keeps the one before', () => {
  const file = join(dir, 'a.log');
  const log = createLog({ to: { file, maxBytes: 2000 } });
  for (let n = 0; n < 100; n += 1) log.info({ n }, 'x'.repeat(100));
  log.close();
  expect(statSync(file).size).toBeLessThanOrEqual(2000);
  expect(statSync(`${file}.1`).size).toBeLessThanOrEqual(2000);
  expect(existsSync(`${file}.2`)).toBe(false);
  const last = readFileSync(file, 'utf8').trim().split('\n').at(-1) ?? '';
  expect(JSON.parse(last)).toMatchObject({ n: 99 });
});
