// The screen of vm top in windows of all sizes, and the cells it is made of.
import { expect, test } from 'vitest';
import type { VmStats } from '../../core/api.ts';
import { figureNotes, shortBytes, shortTime } from './cells.ts';
import { sortStats, topScreen } from './screen.ts';
import type { SortKey } from './screen.ts';
import { entry } from '../testing/figures.ts';

const screen = (stats: readonly VmStats[], options: Partial<Parameters<typeof topScreen>[1]> = {}): string[] =>
  topScreen(stats, { cols: 80, rows: 24, sort: 'cpu', time: '12:00:00', ...options });

test('eighty columns have room for all of it', () => {
  expect(screen([entry('devbox'), entry('off', { state: 'stopped', stale: true }), entry('silent', { problem: 'its guest agent did not answer within 2 s', guest: undefined } as never)])).toEqual([
    'banger: 2 running, 1 stopped; CPU 25 %; by cpu                          12:00:00',
    'NAME              STATE      CPU%   MEM/LIMIT    RSS   DISK    NET RX/TX  UPTIME',
    'devbox            running    12.3   120M/512M   310M   1.2G    6.5M/900B   3h12m',
    'silent            running    12.3      -/512M   310M   1.2G    6.5M/900B   3h12m',
    'off               stopped    12.3   120M/512M   310M   1.2G    6.5M/900B   3h12m',
    'silent: its guest agent did not answer within 2 s',
    'sort: c CPU, m memory, n name, d disk, u uptime; q quits',
  ]);
});

test.each([[80, 24], [200, 60], [40, 10], [20, 5], [10, 3], [5, 2], [1, 1], [79, 24], [81, 24]])('no line is over %i columns, nor are there more than %i', (cols, rows) => {
  const stats = Array.from({ length: 100 }, (_, n) => entry(`${'long-name-'.repeat(6)}${n}`, { problem: 'x'.repeat(300) }));
  const lines = screen(stats, { cols, rows });
  expect(lines.length).toBeLessThanOrEqual(rows);
  expect(lines.filter((line) => line.length > cols || /[^ -~]/.test(line))).toEqual([]);
});

test('columns stand below their headers whatever the figures are', () => {
  const huge = entry('huge', {
    memoryMiB: 1024 * 1024, host: { cpuSeconds: 1, cpuPercent: 3199.94, rssBytes: 1000 * 2 ** 30, threads: 4 },
    network: { rxBytes: Number.MAX_SAFE_INTEGER, txBytes: Number.MAX_SAFE_INTEGER }, uptimeSeconds: 400 * 86_400 - 1,
    disks: [{ id: 'root', allocatedBytes: 999.4 * 2 ** 40, virtualBytes: 8e9 }],
  });
  const [, header, ...rows] = screen([huge, entry('small')], { rows: 5 });
  const ends = (line: string): number => line.length;
  expect(rows.slice(0, 2).map(ends)).toEqual([ends(header!), ends(header!)]);
});

test('a name or a word of a guest cannot draw on the screen', () => {
  const lines = screen([entry('devbox', { problem: '\u001b[2J\u202e漢字' })]);
  expect(lines.join('')).not.toMatch(/[^ -~]/);
});

test('more VMs than lines are counted', () => {
  const lines = screen(Array.from({ length: 30 }, (_, n) => entry(`vm${n}`)), { rows: 10 });
  expect(lines).toHaveLength(10);
  expect(lines.at(-2)).toBe('24 more: a higher window shows them');
});

test.each<[SortKey, string[]]>([
  ['name', ['a', 'b', 'c', 'd']], ['cpu', ['b', 'a', 'c', 'd']], ['mem', ['c', 'a', 'b', 'd']], ['disk', ['d', 'a', 'b', 'c']], ['uptime', ['a', 'b', 'c', 'd']],
])('by %s', (key, names) => {
  const memory = (usedBytes: number) => ({ guest: { memory: { totalBytes: 9, usedBytes, availableBytes: 9, swapTotalBytes: 0, swapFreeBytes: 0 }, fileSystems: [], odd: [] } });
  const stats = [
    entry('d', { state: 'stopped', stale: true, disks: [{ id: 'root', allocatedBytes: 9e12, virtualBytes: 9e12 }], host: { cpuSeconds: 1, cpuPercent: 999, rssBytes: 9e12, threads: 1 } }),
    entry('c', { ...memory(3e9), uptimeSeconds: 1, host: { cpuSeconds: 1, rssBytes: 1, threads: 1 } }),
    entry('b', { ...memory(1), uptimeSeconds: 2, host: { cpuSeconds: 1, cpuPercent: 300, rssBytes: 1, threads: 1 } }), entry('a', memory(2)),
  ];
  expect(sortStats(stats, key).map(({ vm }) => vm.name)).toEqual(names);
});

test.each([[0, '0B'], [999, '999B'], [1000, '1.0K'], [1023 * 1024, '1.0M'], [10 * 2 ** 20, '10M'], [1.54 * 2 ** 30, '1.5G'], [Number.MAX_SAFE_INTEGER, '8.0P']])('%d bytes are %s', (bytes, text) => {
  expect(shortBytes(bytes)).toBe(text);
});
test.each([[0.5, '0s'], [59.9, '59s'], [60, '1m'], [3599, '59m'], [11_520, '3h12m'], [86_400, '1d0h'], [400 * 86_400 - 1, '399d23h']])('%d seconds are %s', (seconds, text) => {
  expect(shortTime(seconds)).toBe(text);
});
test('what is missing or old is said', () => {
  expect(figureNotes([entry('a'), entry('b', { problem: 'it is paused' }), entry('c', { stale: true }), entry('d', { stale: true })]))
    .toEqual(['b: it is paused', 'not running, the last figures known: c, d']);
});
