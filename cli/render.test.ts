import { expect, test } from 'vitest';
import { BangerError, badRequest } from '../core/errors.ts';
import { exitCodeOf, renderError } from './errors.ts';
import type { Io } from './io.ts';
import { cellText, keyValue } from './render/keyvalue.ts';
import { createProgress } from './render/progress.ts';
import { table } from './render/table.ts';
import { formatAge, formatBytes, formatDuration } from './render/units.ts';
import { suggest } from './suggest.ts';

function captured(tty: boolean, env: Record<string, string> = {}): Io & { text: string } {
  return { text: '', env, isTty: () => tty, out() { throw new Error('unused'); }, err(text) { this.text += text; } };
}

test('tables are aligned with two spaces, unpadded at the end, and hold no control characters', () => {
  expect(table(['ID', 'NAME'], [['1', 'devbox'], ['1234', 'x\u001b[31m']])).toBe('ID    NAME\n1     devbox\n1234  x?[31m\n');
});

test('key-value rows leave out what is not there', () => {
  expect(keyValue([['id', 'a'], ['started', undefined], ['reboots', 0]])).toBe('id       a\nreboots  0\n');
  expect(cellText([{ a: 1, b: ['x', 'y'] }, true])).toBe('a=1 b=x, y, true');
});

test('units', () => {
  expect([formatBytes(0), formatBytes(1536), formatBytes(576 * 1024 ** 2), formatBytes(8 * 1024 ** 3)]).toEqual(['0 B', '1.5 KiB', '576 MiB', '8 GiB']);
  expect([formatDuration(120), formatDuration(3210)]).toEqual(['120 ms', '3.2 s']);
  const now = Date.parse('2026-01-03T00:00:00Z');
  expect(['2026-01-02T23:59:30Z', '2026-01-02T23:55:00Z', '2026-01-02T21:00:00Z', '2025-12-31T00:00:00Z'].map((at) => formatAge(at, now))).toEqual(['just now', '5 min ago', '3 h ago', '3 days ago']);
});

test('an error is a sentence, a hint and the op id, dimmed on a terminal', () => {
  const error = new BangerError('not_found', 'No VM matches x', { hint: 'banger vm list', detail: { opId: 'op-1' } });
  expect(renderError(error, captured(false))).toBe('banger: No VM matches x\n  hint: banger vm list\n(op-1)\n');
  expect(renderError(error, captured(true))).toBe('banger: No VM matches x\n  hint: banger vm list\n\u001b[2m(op-1)\u001b[0m\n');
  expect(renderError(error, captured(true, { NO_COLOR: '1' }))).toBe('banger: No VM matches x\n  hint: banger vm list\n(op-1)\n');
  expect(renderError(new BangerError('internal', 'internal error'), captured(false))).toMatch(/^banger: internal error\n/);
  expect(renderError(new Error('odd'), captured(false))).toMatch(/^banger: internal error: odd\n/);
});

test('exit codes: 2 for bad usage everywhere, 125 for own failures of run and exec, 1 otherwise', () => {
  expect([exitCodeOf(badRequest([])), exitCodeOf(badRequest([]), true)]).toEqual([2, 2]);
  expect([exitCodeOf(new BangerError('config_invalid', '')), exitCodeOf(new BangerError('config_invalid', ''), true)]).toEqual([2, 2]);
  expect([exitCodeOf(new BangerError('not_found', '')), exitCodeOf(new BangerError('not_found', ''), true)]).toEqual([1, 125]);
  expect([exitCodeOf(new Error('x')), exitCodeOf(new Error('x'), true)]).toEqual([1, 125]);
});

test('stages: one live line on a terminal, a line each elsewhere, nothing when quiet', () => {
  const live = captured(true, { NO_COLOR: '1' });
  const progress = createProgress(live, { width: 20 });
  progress.show({ stage: 'boot', detail: 'waiting for a very long thing' });
  progress.show({ stage: 'boot', detail: 'waiting for a very long thing' });
  progress.end();
  progress.show({ stage: 'late' });
  expect(live.text).toBe('\r\u001b[Kboot: waiting for\r\u001b[K');
  const plain = captured(false);
  const lines = createProgress(plain);
  lines.show({ stage: 'boot' });
  lines.show({ stage: 'ready', detail: 'agent\r' });
  lines.end();
  expect(plain.text).toBe('  boot\n  ready: agent?\n');
  const quiet = captured(true);
  createProgress(quiet, { quiet: true }).show({ stage: 'boot' });
  expect(quiet.text).toBe('');
});

test('suggests the nearest word, and nothing for something else', () => {
  const verbs = ['list', 'start', 'stop', 'restart', 'delete'];
  expect([suggest('lsit', verbs), suggest('delte', verbs), suggest('del', verbs), suggest('fly', verbs), suggest('stat', verbs)]).toEqual(['list', 'delete', 'delete', undefined, 'start']);
});

test('off a terminal a counter is a line each tenth and each five seconds, and everything else a line each', () => {
  const io = captured(false);
  let now = 0;
  const progress = createProgress(io, { now: () => now });
  progress.show({ stage: 'image', detail: 'unpacking' });
  for (let done = 1; done <= 211; done++) progress.show({ stage: 'image', detail: `installing packages ${done}/211` });
  for (const detail of ['kernel 6.1.0-1', 'kernel 6.1.0-2', '1 MiB', '2 MiB', '3 MiB']) {
    now += 2000;
    progress.show({ stage: 'image', detail });
  }
  now += 5000;
  progress.show({ stage: 'image', detail: '4 MiB' });
  const lines = io.text.trimEnd().split('\n').map((line) => line.replace('  image: ', ''));
  expect(lines).toHaveLength(1 + 11 + 2 + 2);
  expect([lines[0], lines[1], lines[11], ...lines.slice(12)]).toEqual(['unpacking', 'installing packages 1/211', 'installing packages 211/211', 'kernel 6.1.0-1', 'kernel 6.1.0-2', '1 MiB', '4 MiB']);
});
