// `send --list`: what is sent of which directory, in which order, and what is refused.
import { execFileSync } from 'node:child_process';
import { chmodSync, linkSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, statSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Ends } from './testing-direct.ts';
import { giveTo, isRoot, makeTree, manifest, nobody, programs, run, temporary, type Programs, type RunOptions, type RunResult } from './testing.ts';

const { dir, dispose } = temporary('list');
let copy: Programs;
let ends: Ends;
let here: string;
beforeAll(async () => {
  copy = await programs(dir);
  ends = new Ends(copy.asan, dir);
}, 300_000);
beforeEach(() => {
  here = mkdtempSync(join(dir, 'case-'));
  chmodSync(here, 0o755);
});
afterEach(() => ends.clear());
afterAll(dispose);

const listOf = (records: readonly string[], end = '\0'): Buffer => Buffer.from(records.length === 0 ? '' : records.join('\0') + end, 'latin1');
function send(records: readonly string[], bases: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  writeFileSync(join(here, 'list'), listOf(records));
  return run(copy.asan, ['send', '--list', 'list', '--', ...bases], { cwd: here, ...options });
}
const names = (stream: Buffer): string[] => execFileSync('tar', ['-t', '--quoting-style=literal'], { input: stream, encoding: 'latin1' }).split('\n').slice(0, -1);
function put(path: string, text = path): void {
  mkdirSync(join(here, path, '..'), { recursive: true });
  writeFileSync(join(here, path), text);
}

describe('the entries', () => {
  it('come in the order of the list, each directory once and before what is in it', async () => {
    for (const path of ['git/HEAD', 'git/refs/heads/main', 'git/objects/pack/p', 'work/src/a', 'work/src/deep/b', 'work/z', 'work/git']) put(path);
    put('git/shared/one');
    put('work/shared/two');
    mkdirSync(join(here, 'work/empty'));
    const records = [
      '0/objects/pack/p', '0/refs/heads/main', '0/objects/pack/p', '0/HEAD', '0/shared/one',
      '1/src/deep/b', '1/src/a', '1/src', '1/empty', '1/z', '1/git', '1/src/deep/b', '1/shared/two',
    ];
    const result = await send(records, ['git', 'work/']);
    expect({ code: result.code, err: result.err, names: names(result.out) }).toEqual({
      code: 0, err: '',
      names: [
        './objects/', './objects/pack/', './objects/pack/p', './refs/', './refs/heads/', './refs/heads/main', './objects/pack/p', './HEAD', './shared/', './shared/one',
        './src/', './src/deep/', './src/deep/b', './src/a', './empty/', './z', './git', './src/deep/b', './shared/two',
      ],
    });
  });

  it('of an empty list are none', async () => {
    const result = await send([], ['.']);
    expect([result.code, result.err, names(result.out)]).toEqual([0, '', []]);
    expect(await run(copy.asan, ['receive', '--into', 'dest'], { cwd: here, input: result.out })).toMatchObject({ code: 0, err: '' });
  });

  it('keep names of any bytes, modes, times to the nanosecond, links and holes', async () => {
    makeTree(join(here, 'from'), { seed: 4711 });
    const wanted = manifest(join(here, 'from'), { owners: false, attributes: false });
    const paths = execFileSync('find', ['.', '-mindepth', '1', '(', '-type', 'f', '-o', '-type', 'l', '-o', '-type', 'd', ')', '-printf', '%P\\0'], { cwd: join(here, 'from'), encoding: 'latin1' });
    const result = await send(paths.split('\0').slice(0, -1).sort().map((path) => `0/${path}`), ['from']);
    expect([result.code, result.err]).toEqual([0, '']);
    const got = await run(copy.asan, ['receive', '--into', 'to'], { cwd: here, input: result.out });
    expect([got.code, got.err]).toEqual([0, '']);
    const found = manifest(join(here, 'to'), { owners: false });
    const comparable = Object.entries(wanted).filter(([path, { mode }]) => path !== '.' && Number.parseInt(String(mode), 8) >> 12 !== 1)
      // Names of one file are sent as files of their own, and attributes are not sent.
      .map(([path, entry]) => [path, { ...entry, same: undefined, mode: (Number.parseInt(String(entry['mode']), 8) & 0o170777).toString(8) }]);
    delete found['.'];
    expect(found).toEqual(Object.fromEntries(comparable) as unknown);
  });

  it('have no hard links and no attributes', async () => {
    put('work/a');
    linkSync(join(here, 'work/a'), join(here, 'work/b'));
    execFileSync('setfattr', ['-n', 'user.one', '-v', 'x', join(here, 'work/a')]);
    const result = await send(['0/a', '0/b'], ['work']);
    expect(result.code).toBe(0);
    expect(execFileSync('tar', ['-tv'], { input: result.out, encoding: 'utf8' })).not.toContain('link to');
    expect(result.out.includes('SCHILY')).toBe(false);
  });

  it('are those of their directory however deep', async () => {
    const deep = Array.from({ length: 300 }, (_, i) => `d${i % 10}`);
    put(`work/${deep.join('/')}/file`);
    put(`work/${deep.slice(0, 100).join('/')}/between`);
    const result = await send([`0/${deep.join('/')}/file`, `0/${deep.slice(0, 100).join('/')}/between`, `0/${deep.slice(0, 299).join('/')}`], ['work']);
    expect([result.code, result.err, names(result.out).length]).toEqual([0, '', 302]);
  });
});

describe('what cannot be sent', () => {
  it('is told, and the others go on', async () => {
    put('work/a/one');
    put('work/b/two');
    put('work/b/secret');
    symlinkSync('b', join(here, 'work/link'));
    symlinkSync('/etc/passwd', join(here, 'work/b/away'));
    execFileSync('mkfifo', [join(here, 'work/b/fifo')]);
    chmodSync(join(here, 'work/b/secret'), 0);
    if (isRoot) giveTo(join(here, 'work/b/secret'), nobody);
    const records = ['0/a/gone', '0/link/two', '0/b/two/more', '0/b/secret', '0/b/fifo', `0/${'x'.repeat(300)}`, '0/b/away', '0/link', '0/b/two'];
    const result = await send(records, ['work'], isRoot ? { user: nobody } : {});
    expect(result.code).toBe(1);
    expect(result.err.split('\n')).toEqual([
      'copy: cannot read a/gone: No such file or directory', 'copy: cannot read link/two: Not a directory', 'copy: cannot read b/two/more: Not a directory',
      'copy: cannot read b/secret: Permission denied', 'copy: b/fifo is left out: it is no file, link or directory',
      expect.stringMatching(/^copy: cannot read x{300}: File ?name too long$/), '',
    ]);
    expect(names(result.out)).toEqual(['./a/', './b/', './b/away', './link', './b/two']);
  });

  it('may be a directory that only lets through', async () => {
    put('work/through/file');
    chmodSync(join(here, 'work/through'), 0o111);
    const result = await send(['0/through/file'], ['work'], isRoot ? { user: nobody } : {});
    chmodSync(join(here, 'work/through'), 0o755);
    expect([result.code, result.err, names(result.out)]).toEqual([0, '', ['./through/', './through/file']]);
  });
});

describe('refused before the first byte', () => {
  beforeEach(() => put('work/a/b'));
  it.each(['a/b', '/a/b', '0', '0/', '0//a', '0/a/', '0/a//b', '0/.', '0/a/../b', '0/..', '0/a/.', '1/a', '-1/a', 'x/a', '', ' 0/a', `0/${'a/'.repeat(2047)}`, `0/${'y'.repeat(4094)}`])('%j', async (record) => {
    const result = await send(['0/a/b', record], ['work']);
    expect([result.code, result.out.length]).toEqual([3, 0]);
    expect(result.err).toMatch(/^copy: the list has something else than <n>\/<path>: .*\n$/);
  });

  it('a list whose end is missing, and lists and directories that are not there', async () => {
    writeFileSync(join(here, 'cut'), listOf(['0/a/b', '0/a'], ''));
    for (const [words, err] of [
      [['cut', '--', 'work'], 'the list has something else than <n>/<path>: 0/a'], [['gone', '--', 'work'], 'cannot read gone: No such file or directory'],
      [['cut', '--', 'gone'], 'cannot read gone: No such file or directory'], [['cut', '--', 'work/a/b'], 'cannot read work/a/b: Not a directory'],
      [['work', '--', 'work'], 'cannot read the list: Is a directory'],
    ] as const) {
      const result = await run(copy.asan, ['send', '--list', ...words], { cwd: here });
      expect([result.code, result.out.length, result.err]).toEqual([3, 0, `copy: ${err}\n`]);
    }
  });

  it('other options with it', async () => {
    for (const words of [['--contents', '--', 'work'], ['--base', 'x', '--', 'work'], ['--']]) {
      expect((await run(copy.asan, ['send', '--list', 'list', ...words], { cwd: here })).code).toBe(2);
    }
  });
});

it('goes the direct way, between two ends', async () => {
  put('work/a/b', 'x'.repeat(3_000_000));
  truncateSync(join(here, 'work/a/b'), 3_000_001);
  symlinkSync('b', join(here, 'work/a/c'));
  utimesSync(join(here, 'work/a'), 1_000_000_000.5, 1_000_000_000.25);
  writeFileSync(join(here, 'list'), listOf(['0/a/b', '0/a/c']));
  const both = await ends.joined(['send', '--list', join(here, 'list'), '--', join(here, 'work')], ['receive', '--into', '--', join(here, 'to')], 'guest');
  await both.host.said(/^sent$/m);
  expect([await both.guest.over(), both.guest.err]).toEqual([0, '']);
  both.host.child.stdin!.end();
  expect([await both.host.over(), both.host.err]).toEqual([0, '']);
  expect(manifest(join(here, 'to/a'))).toEqual(manifest(join(here, 'work/a')));
});

it('puts files over those of an old tree, and leaves what it does not name', async () => {
  put('work/a/new');
  put('to/a/old');
  put('to/a/new', 'before');
  const outside = join(here, 'outside');
  mkdirSync(outside);
  put('work/l/file');
  symlinkSync(outside, join(here, 'to/l'));
  const sent = await send(['0/a/new', '0/l/file'], ['work']);
  const got = await run(copy.asan, ['receive', '--into', 'to'], { cwd: here, input: sent.out });
  expect([got.code, got.err]).toEqual([1, expect.stringContaining('l is a symlink and not followed')]);
  expect([readFileSync(join(here, 'to/a/new'), 'utf8'), readFileSync(join(here, 'to/a/old'), 'utf8')]).toEqual(['work/a/new', 'to/a/old']);
  expect(statSync(join(here, 'to/a/new'), { bigint: true }).mtimeNs).toBe(statSync(join(here, 'work/a/new'), { bigint: true }).mtimeNs);
  expect(lstatSync(join(here, 'to/l')).isSymbolicLink()).toBe(true);
});
