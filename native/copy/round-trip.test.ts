// Trees by seed through `send` and `receive`: nothing may be different afterwards.
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { giveTo, isRoot, makeTree, manifest, nobody, programs, run, temporary, type Programs } from './testing.ts';

const { dir, dispose } = temporary('round');
let copy: Programs;
beforeAll(async () => void (copy = await programs(dir)), 300_000);
afterAll(dispose);

describe('the whole tree', () => {
  for (const seed of [1, 2, 3, 4, 5]) {
    it(`is the same again as root, seed ${seed}`, async (ctx) => {
      if (!isRoot) ctx.skip('only root can give files away');
      const [from, to] = [join(dir, `root-${seed}`), join(dir, `root-${seed}-again`)];
      makeTree(from, { seed, asRoot: true });
      const program = seed % 2 ? copy.asan : copy.plain;
      const sent = await run(program, ['send', from]);
      expect(sent).toMatchObject({ code: 0, err: '' });
      expect(await run(program, ['receive', '--owners', '--devices', '--sync', to], { input: sent.out })).toMatchObject({ code: 0, err: '' });
      expect(manifest(to)).toEqual(manifest(from));
      // Into the copy itself: everything is replaced or merged, nothing is different.
      expect(await run(program, ['receive', '--owners', '--devices', '--as', to], { input: sent.out })).toMatchObject({ code: 0, err: '' });
      expect(manifest(to)).toEqual(manifest(from));
    });
  }

  for (const seed of [11, 12]) {
    it(`is the same again as an ordinary user, seed ${seed}`, async () => {
      const user = isRoot ? nobody : process.getuid!();
      const home = join(dir, `user-${seed}`);
      mkdirSync(home);
      const [from, to] = [join(home, 'from'), join(home, 'to')];
      makeTree(from, { seed, user });
      if (isRoot) giveTo(home, nobody);
      const options = isRoot ? { user: nobody } : {};
      const sent = await run(copy.asan, ['send', '--contents', from], options);
      expect(sent).toMatchObject({ code: 0, err: '' });
      expect(await run(copy.asan, ['receive', '--owners', '--devices', to], { ...options, input: sent.out })).toMatchObject({ code: 0, err: '' });
      expect(manifest(to)).toEqual(manifest(from));
    });
  }

  it('keeps all but owners, setuid bits and what needs them, without --owners', async (ctx) => {
    if (!isRoot) ctx.skip('only root can give files away');
    const [from, to] = [join(dir, 'bare'), join(dir, 'bare-again')];
    makeTree(from, { seed: 21, asRoot: true });
    const sent = await run(copy.plain, ['send', from]);
    const received = await run(copy.asan, ['receive', to], { input: sent.out });
    const wanted = manifest(from, { owners: false });
    const devices = Object.keys(wanted).filter((path) => wanted[path]!['device'] !== undefined);
    expect(devices.length).toBeGreaterThan(0);
    expect(received.code).toBe(1);
    expect(received.err.split('\n').filter((line) => line.endsWith('is a device and is left out')).length).toBe(devices.length);
    for (const path of devices) delete wanted[path];
    const got = manifest(to, { owners: false });
    // The mode's group bits were the mask of an ACL that is not kept.
    expect(got).toEqual(wanted);
    for (const entry of Object.values(manifest(to, { attributes: false }))) {
      expect(entry['owner']).toBe('0:0');
      expect(Number.parseInt(entry['mode'] as string, 8) & 0o6000).toBe(0);
    }
  });
});

it('moves big files through real pipes', async () => {
  const from = join(dir, 'pipes');
  mkdirSync(from);
  // Around the sizes where splicing begins, and over what a pipe holds.
  for (const size of [262_143, 262_144, 262_145, 1_048_576, 5_000_001]) writeFileSync(join(from, `f${size}`), randomBytes(size));
  for (let i = 0; i < 30; i++) writeFileSync(join(from, `s${i}`), randomBytes(i * 777));
  execFileSync('sh', ['-c', '"$1" send "$2" | "$1" receive "$3"', 'sh', copy.plain, from, join(dir, 'pipes-again')]);
  expect(manifest(join(dir, 'pipes-again'))).toEqual(manifest(from));
});

it('knows files of over 8 GiB, and holes of that size', async () => {
  const from = join(dir, 'huge');
  mkdirSync(from);
  execFileSync('truncate', ['-s', '9G', join(from, 'hole')]);
  execFileSync('dd', ['if=/dev/urandom', `of=${join(from, 'hole')}`, 'bs=1', 'count=10', 'seek=8999999999', 'conv=notrunc', 'status=none']);
  const sent = await run(copy.plain, ['send', from]);
  expect(sent.out.length).toBeLessThan(100_000);
  expect(await run(copy.plain, ['receive', join(dir, 'huge-again')], { input: sent.out })).toMatchObject({ code: 0, err: '' });
  const seen = execFileSync('cmp', [join(from, 'hole'), join(dir, 'huge-again', 'hole'), '-i', '8999990000'], { encoding: 'utf8' });
  expect(seen).toBe('');
  expect(execFileSync('stat', ['-c', '%s', join(dir, 'huge-again', 'hole')], { encoding: 'utf8' })).toBe(`${9 * 2 ** 30}\n`);
});

it('goes through trees deeper than the descriptors a process has, with bounded memory', async () => {
  const from = join(dir, 'deep');
  mkdirSync(from);
  execFileSync('sh', ['-c', 'cd "$1" && i=0 && while [ $i -lt 500 ]; do mkdir d && cd -P d && i=$((i + 1)); done && echo bottom >file', 'sh', from]);
  const limits = 'ulimit -v 60000; ulimit -n 150; exec "$@"';
  const sent = await run('sh', ['-c', limits, 'sh', copy.plain, 'send', '--contents', from]);
  expect(sent).toMatchObject({ code: 0, err: '' });
  expect(await run('sh', ['-c', limits, 'sh', copy.plain, 'receive', join(dir, 'deep-again')], { input: sent.out })).toMatchObject({ code: 0, err: '' });
  const again = await run(copy.plain, ['send', '--contents', join(dir, 'deep-again')]);
  const hash = (data: Buffer): string => createHash('sha256').update(data).digest('hex');
  expect(hash(again.out)).toBe(hash(sent.out));
  // Cut near its end, all of it goes away again.
  const cut = await run('sh', ['-c', limits, 'sh', copy.plain, 'receive', join(dir, 'deep-cut')], { input: sent.out.subarray(0, sent.out.length - 10_240) });
  expect(cut).toMatchObject({ code: 3, err: 'copy: the stream ended early: nothing was put in place\n' });
  expect(readdirSync(dir).filter((name) => name.startsWith('.banger') || name === 'deep-cut')).toEqual([]);
  execFileSync('rm', ['-rf', from, join(dir, 'deep-again')]);
});

it('does not mind the order of entries, and keeps times when the stream comes back to a directory', async () => {
  const from = join(dir, 'order');
  makeTree(from, { seed: 31, simple: true });
  const names = execFileSync('sh', ['-c', 'cd "$1" && find . -type d -o -print | sort', 'sh', from], { encoding: 'utf8' }).trim().split('\n');
  const directories = execFileSync('sh', ['-c', 'cd "$1" && find . -depth -type d', 'sh', from], { encoding: 'utf8' }).trim().split('\n');
  // Directories first, then files in an order that jumps between them.
  const jumping = names.map((name, i) => ({ name, key: (i * 7919) % 101 })).sort((a, b) => a.key - b.key).map(({ name }) => name);
  const list = join(dir, 'list');
  writeFileSync(list, [...directories.reverse(), ...jumping].join('\n'));
  const stream = execFileSync('tar', ['-c', '--format=pax', '--no-recursion', '-C', from, '-T', list], { maxBuffer: 1 << 28 });
  expect(await run(copy.asan, ['receive', join(dir, 'order-again')], { input: stream })).toMatchObject({ code: 0, err: '' });
  expect(manifest(join(dir, 'order-again'), { holes: false })).toEqual(manifest(from, { holes: false }));
});

it('lets files below directories that nobody may write arrive', async () => {
  const user = isRoot ? { user: nobody } : {};
  const home = join(dir, 'locked');
  mkdirSync(join(home, 'from/inner'), { recursive: true });
  writeFileSync(join(home, 'from/inner/file'), 'text', { mode: 0o444 });
  if (isRoot) execFileSync('chown', ['-R', `${nobody}:${nobody}`, home]);
  chmodSync(join(home, 'from/inner'), 0o555);
  chmodSync(join(home, 'from'), 0o555);
  const sent = await run(copy.plain, ['send', join(home, 'from')], user);
  expect(await run(copy.plain, ['receive', join(home, 'to')], { ...user, input: sent.out })).toMatchObject({ code: 0, err: '' });
  expect(manifest(join(home, 'to'))).toEqual(manifest(join(home, 'from')));
  expect(readFileSync(join(home, 'to/inner/file'), 'utf8')).toBe('text');
});
