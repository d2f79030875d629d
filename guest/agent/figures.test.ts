// `agent stat` by itself, built with sanitizers: on this host, and on files that no kernel would have.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, existsSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { parseStat } from '../../plugins/stats/guest/stat.ts';
import { repoRoot } from '../../test/support/source-tree.ts';

const agent = join(repoRoot, 'dist/native/agent-asan');
beforeAll(() => {
  execFileSync('sh', [join(repoRoot, 'scripts/build-native.sh'), '--asan'], { cwd: repoRoot });
}, 400_000);

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'banger-figures-'));
  mkdirSync(join(dir, 'proc/net'), { recursive: true });
  for (const name of ['eth0', 'a'.repeat(15)]) mkdirSync(join(dir, 'sys/class/net', name, 'device'), { recursive: true });
  mkdirSync(join(dir, 'sys/class/net/docker0'), { recursive: true });
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function stat(...words: string[]): string {
  const { status, stdout, stderr } = spawnSync(agent, ['stat', ...words], { encoding: 'latin1', maxBuffer: 1 << 24 });
  expect([status, stderr]).toEqual([0, '']);
  return stdout;
}
const made = (files: Readonly<Record<string, string>>): string => {
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, 'proc', name), text, 'latin1');
  return stat(join(dir, 'proc'), join(dir, 'sys'));
};
const sectionOf = (text: string, name: string): string | undefined => {
  const head = new RegExp(`(?:^|\\n)${name} (\\d+)\\n`).exec(text);
  return head === null ? undefined : text.slice(head.index + head[0].length, head.index + head[0].length + Number(head[1]));
};

test("tells this host's figures", () => {
  const found = parseStat({ name: 'this' }, stat());
  expect(found.odd).toEqual([]);
  const memory = Number(/^MemTotal: +(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]) * 1024;
  expect(found.memory?.totalBytes).toBe(memory);
  expect(found.bootedAtMs).toBe(Number(/^btime (\d+)/m.exec(readFileSync('/proc/stat', 'utf8'))?.[1]) * 1000);
  const root = statfsSync('/');
  expect(found.fileSystems[0]).toMatchObject({ path: '/', totalBytes: root.blocks * root.bsize, inodes: root.files });
  const uptime = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
  expect(found.uptimeSeconds).toBeLessThanOrEqual(uptime);
  expect(found.uptimeSeconds).toBeGreaterThan(uptime - 60);
  const hardware = readdirSync('/sys/class/net').filter((name) => existsSync(`/sys/class/net/${name}/device`));
  expect(sectionOf(stat(), 'netdev')!.split('\n').filter((line) => line !== '').map((line) => line.trim().split(':')[0]).toSorted()).toEqual(hardware.toSorted());
});

test('keeps of /proc/stat the line of all CPUs and the time of boot, however many interrupts there are', () => {
  const text = `cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr ${'12345 '.repeat(40_000)}\nctxt 5\nbtime 77\nprocesses 9\n`;
  expect(sectionOf(made({ stat: text }), 'stat')).toBe('cpu  1 2 3 4 5 6 7 8 9 10\nbtime 77\n');
});

test('tells of hardware only', () => {
  const row = ': 1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0\n';
  const names = ['    lo', '  eth0', 'docker0', 'a'.repeat(15), '..', '../eth0', 'eth0/device', '', 'b'.repeat(400)];
  expect(sectionOf(made({ 'net/dev': `Inter-|   Receive\n face |bytes\n${names.map((name) => name + row).join('')}` }), 'netdev')).toBe(`  eth0${row}${'a'.repeat(15)}${row}`);
});

test('keeps whole lines of what is too long, and leaves out what is not there', () => {
  const line = `${'m'.repeat(100)}\n`;
  const text = made({ meminfo: line.repeat(10_000), loadavg: 'x'.repeat(300_000), uptime: '', stat: 'no line end' });
  const meminfo = sectionOf(text, 'meminfo')!;
  expect(meminfo.length).toBeLessThanOrEqual(16 * 1024);
  expect(meminfo.length).toBeGreaterThan(16 * 1024 - 200);
  expect(meminfo.replaceAll(line, '')).toBe('');
  expect(sectionOf(text, 'loadavg')).toBe('');
  expect(sectionOf(text, 'uptime')).toBeUndefined();
  expect(sectionOf(text, 'netdev')).toBeUndefined();
  expect(parseStat({ name: 'this' }, text).odd).toEqual(['stat', 'loadavg', 'meminfo']);
});

test('takes a NUL for the end of a file', () => {
  expect(sectionOf(made({ uptime: '1.00 2.00\n\0\0more\n' }), 'uptime')).toBe('1.00 2.00\n');
});

test('knows its words', () => {
  const { status, stderr } = spawnSync(agent, ['stat', 'x'], { encoding: 'latin1' });
  expect([status, stderr]).toEqual([2, 'usage: agent stat\n']);
});
