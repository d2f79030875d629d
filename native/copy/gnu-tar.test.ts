// GNU tar on the other end: it reads what we send, and we read every format it writes.
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isRoot, makeTree, manifest, programs, run, temporary, type Programs } from './testing.ts';

const { dir, dispose } = temporary('gnu');
let copy: Programs;
beforeAll(async () => {
  copy = await programs(dir);
  makeTree(join(dir, 'rich'), { seed: 41, asRoot: isRoot });
  makeTree(join(dir, 'simple'), { seed: 42, asRoot: isRoot, simple: true });
}, 300_000);
afterAll(dispose);

const tar = (...args: string[]): Buffer => execFileSync('tar', ['--warning=no-timestamp', ...args], { maxBuffer: 1 << 28 });
const asRoot = isRoot ? ['--xattrs-include=*', '--numeric-owner', '--same-owner'] : [];

it('reads what we send, all of it', async () => {
  const sent = await run(copy.asan, ['send', '--base', 'rich', join(dir, 'rich')]);
  expect(sent).toMatchObject({ code: 0, err: '' });
  const to = join(dir, 'theirs');
  mkdirSync(to);
  writeFileSync(join(dir, 'ours.tar'), sent.out);
  tar('-xpf', join(dir, 'ours.tar'), '-C', to, '--xattrs', ...asRoot);
  expect(manifest(join(to, 'rich'))).toEqual(manifest(join(dir, 'rich')));
});

describe('what GNU tar writes', () => {
  const formats: readonly (readonly [format: string, tree: string, ...more: string[]])[] = [
    ['v7', 'simple'],
    ['oldgnu', 'simple'],
    ['ustar', 'simple'],
    ['gnu', 'rich'],
    ['pax', 'rich'],
    ['pax', 'rich', '--xattrs', '--acls', ...asRoot],
    ['pax', 'rich', '--pax-option=globexthdr.name=g,comment=told,mtime=1234567890.25'],
    ['oldgnu', 'rich', '--sparse'],
    ['gnu', 'rich', '--sparse'],
    ['pax', 'rich', '--sparse', '--sparse-version=0.0'],
    ['pax', 'rich', '--sparse', '--sparse-version=0.1'],
    ['pax', 'rich', '--sparse', '--sparse-version=1.0'],
    ['pax', 'rich', '--hard-dereference', '-b', '1'],
  ];
  for (const [i, [format, tree, ...more]] of formats.entries()) {
    it(`becomes with us what it becomes with it: ${[format, ...more].join(' ')}`, async () => {
      // v7 knows no devices and fifos.
      const without = format === 'v7' ? ['--exclude-from', leaveOut(i)] : [];
      const stream = tar('-c', `--format=${format}`, ...more, ...without, '-C', dir, tree);
      writeFileSync(join(dir, `${i}.tar`), stream);
      const [theirs, ours] = [join(dir, `theirs-${i}`), join(dir, `ours-${i}`)];
      mkdirSync(theirs);
      mkdirSync(ours);
      tar('-xpf', join(dir, `${i}.tar`), '-C', theirs, '--xattrs', '--acls', ...asRoot, '--numeric-owner');
      expect(await run(copy.asan, ['receive', '--owners', '--devices', ours], { input: stream })).toMatchObject({ code: 0, err: '' });
      const wanted = manifest(join(theirs, tree));
      expect(Object.keys(wanted).length).toBeGreaterThan(20);
      expect(manifest(join(ours, tree))).toEqual(wanted);
    });
  }

  function leaveOut(i: number): string {
    const list = join(dir, `leave-out-${i}`);
    const found = execFileSync('sh', ['-c', 'cd "$1" && find simple ! -type f ! -type d ! -type l', 'sh', dir], { encoding: 'utf8' });
    writeFileSync(list, found);
    return list;
  }
});

it('reads a sparse file of more pieces than a header holds', async () => {
  const from = join(dir, 'pieces');
  mkdirSync(from);
  const file = join(from, 'file');
  execFileSync('perl', ['-e', 'open(my $f, ">", $ARGV[0]); for (0 .. 299) { seek($f, $_ * 20000, 0); print $f "piece $_" } truncate($f, 9000000); close $f', file]);
  const wanted = manifest(from);
  for (const options of [['--format=gnu'], ['--format=pax', '--sparse-version=0.0'], ['--format=pax', '--sparse-version=0.1'], ['--format=pax', '--sparse-version=1.0']]) {
    const stream = tar('-c', '--sparse', ...options, '-C', dir, 'pieces');
    const to = join(dir, `pieces${options.join('')}`);
    expect(await run(copy.asan, ['receive', to], { input: stream })).toMatchObject({ code: 0, err: '' });
    expect({ options, tree: manifest(to, { times: false }) }).toEqual({ options, tree: JSON.parse(JSON.stringify(wanted, (key, value: unknown) => (key === 'mtime' ? undefined : value))) });
  }
  const ours = await run(copy.asan, ['send', from]);
  writeFileSync(join(dir, 'pieces.tar'), ours.out);
  mkdirSync(join(dir, 'pieces-theirs'));
  tar('-xpf', join(dir, 'pieces.tar'), '-C', join(dir, 'pieces-theirs'), '--numeric-owner');
  expect(manifest(join(dir, 'pieces-theirs/pieces'))).toEqual(wanted);
});
