import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { writeCpio } from './cpio.ts';
import { buildInitrd } from './initrd.ts';

/** Reads an archive back by the format's own description. */
function readCpio(archive: Buffer): { path: string; mode: number; content: Buffer; rdev: [number, number] }[] {
  const found: { path: string; mode: number; content: Buffer; rdev: [number, number] }[] = [];
  const align = (n: number): number => Math.ceil(n / 4) * 4;
  for (let at = 0; at < archive.length;) {
    expect(archive.toString('ascii', at, at + 6)).toBe('070701');
    const field = (index: number): number => Number.parseInt(archive.toString('ascii', at + 6 + index * 8, at + 14 + index * 8), 16);
    const name = archive.toString('utf8', at + 110, at + 110 + field(11) - 1);
    const data = align(at + 110 + field(11));
    const content = archive.subarray(data, data + field(6));
    found.push({ path: name, mode: field(1), content, rdev: [field(9), field(10)] });
    at = align(data + field(6));
  }
  expect(found.pop()?.path).toBe('TRAILER!!!');
  return found;
}

test('writes files, directories, links and devices that read back', () => {
  const archive = writeCpio([
    { kind: 'directory', path: 'a', mode: 0o755 },
    { kind: 'file', path: 'a/odd', mode: 0o640, content: 'hello' },
    { kind: 'file', path: 'a/empty', mode: 0o600, content: '' },
    { kind: 'symlink', path: 'link', target: 'a/odd' },
    { kind: 'character-device', path: 'console', mode: 0o600, major: 5, minor: 1 },
  ]);
  expect(archive.length % 4).toBe(0);
  expect(readCpio(archive).map((e) => [e.path, e.mode.toString(8), e.content.toString(), e.rdev])).toEqual([
    ['a', '40755', '', [0, 0]], ['a/odd', '100640', 'hello', [0, 0]], ['a/empty', '100600', '', [0, 0]],
    ['link', '120777', 'a/odd', [0, 0]], ['console', '20600', '', [5, 1]],
  ]);
});

test.each(['/abs', '', 'a//b', '../out', 'a/../b', './a', 'a\0b', 'TRAILER!!!'])('refuses the path %j', (path) => {
  expect(() => writeCpio([{ kind: 'file', path, mode: 0o644, content: '' }])).toThrow(RangeError);
});

test('gives the same bytes for the same entries', () => {
  const entries = [{ kind: 'file', path: 'x', mode: 0o644, content: Buffer.from([1, 2, 3]) }] as const;
  expect(writeCpio(entries).equals(writeCpio(entries))).toBe(true);
});

test('the initrd has the agent as /init, a console, and its modules in load order', () => {
  const entries = readCpio(buildInitrd(Buffer.from('agent'), [{ name: 'virtio_ring', content: Buffer.from('m1') }, { name: 'virtio', content: Buffer.from('m2') }]));
  const entry = (path: string) => entries.find((e) => e.path === path);
  expect(entry('init')).toMatchObject({ mode: 0o100755, content: Buffer.from('agent') });
  expect(entry('dev/console')).toMatchObject({ mode: 0o020600, rdev: [5, 1] });
  expect(entry('banger/modules')?.content.toString()).toBe('/lib/modules/virtio_ring.ko\n/lib/modules/virtio.ko\n');
  expect(entry('lib/modules/virtio.ko')?.content.toString()).toBe('m2');
  for (const dir of ['dev', 'proc', 'sys', 'newroot']) expect(entry(dir)?.mode).toBe(0o040755);
});

test('the system\'s own cpio unpacks it', (ctx) => {
  if (spawnSync('cpio', ['--version']).status !== 0) ctx.skip('the program cpio is not installed');
  const dir = mkdtempSync(join(tmpdir(), 'banger-cpio-'));
  try {
    const archive = writeCpio([
      { kind: 'directory', path: 'd', mode: 0o755 }, { kind: 'file', path: 'd/f', mode: 0o751, content: 'x'.repeat(5000) },
      { kind: 'symlink', path: 'l', target: 'd/f' },
    ]);
    expect(spawnSync('cpio', ['-idm', '--quiet'], { cwd: dir, input: archive }).status).toBe(0);
    expect(readdirSync(dir).toSorted()).toEqual(['d', 'l']);
    expect(readFileSync(join(dir, 'l'), 'utf8')).toBe('x'.repeat(5000));
    expect(readlinkSync(join(dir, 'l'))).toBe('d/f');
    expect(statSync(join(dir, 'd/f')).mode & 0o777).toBe(0o751);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
