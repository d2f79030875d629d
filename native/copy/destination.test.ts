// Where a stream goes: what DEST is, and what the options make of it.
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { directory, end, file, pax, programs, run, symlink, temporary, type Programs, type RunResult } from './testing.ts';

const { dir, dispose } = temporary('destination');
let copy: Programs;
let here: string;
beforeAll(async () => void (copy = await programs(dir)), 300_000);
beforeEach(() => void (here = mkdtempSync(join(dir, 'case-'))));
afterAll(dispose);

const tree = Buffer.concat([directory('top', 0o750), file('top/a', 'one'), directory('top/sub'), file('top/sub/b', 'two'), end]);
const contents = Buffer.concat([directory('.', 0o700), file('./a', 'one'), end]);
const single = Buffer.concat([file('single', 'text'), end]);
const two = Buffer.concat([file('one', '1'), file('two', '2'), end]);

const receive = (input: Buffer, ...args: string[]): Promise<RunResult> => run(copy.asan, ['receive', ...args], { input, cwd: here });
const list = (path = '.'): string[] => readdirSync(join(here, path)).sort();
const text = (path: string): string => readFileSync(join(here, path), 'utf8');
const mode = (path: string): number => statSync(join(here, path)).mode & 0o7777;

describe('a destination that is not there', () => {
  it('becomes the single top entry', async () => {
    expect(await receive(tree, 'new')).toMatchObject({ code: 0, err: '' });
    expect([list(), list('new'), text('new/sub/b'), mode('new')]).toEqual([['new'], ['a', 'sub'], 'two', 0o750]);
    expect(await receive(single, 'file')).toMatchObject({ code: 0, err: '' });
    expect(text('file')).toBe('text');
    expect(await receive(contents, 'inner')).toMatchObject({ code: 0, err: '' });
    expect([list('inner'), mode('inner')]).toEqual([['a'], 0o700]);
    expect(await receive(Buffer.concat([symlink('l', 'nowhere'), end]), 'link')).toMatchObject({ code: 0, err: '' });
    expect(readlinkSync(join(here, 'link'))).toBe('nowhere');
  });
  it('is refused with a slash at its end, without a parent, and for several top entries', async () => {
    expect(await receive(tree, 'new/')).toMatchObject({ code: 3, err: 'copy: the directory new/ is not there: nothing was put in place\n' });
    expect(await receive(tree, 'no/new')).toMatchObject({ code: 3, err: 'copy: cannot open no: No such file or directory: nothing was put in place\n' });
    expect(await receive(two, 'new')).toMatchObject({ code: 3, err: 'copy: the stream has more than one top entry, and the destination is no directory to put them into: nothing was put in place\n' });
    expect(list()).toEqual([]);
  });
  it('is made by --into, also by an empty stream', async () => {
    expect(await receive(two, '--into', 'new')).toMatchObject({ code: 0, err: '' });
    expect(list('new')).toEqual(['one', 'two']);
    expect(await receive(end, '--into', 'empty/')).toMatchObject({ code: 0, err: '' });
    expect([list('empty'), mode('empty')]).toEqual([[], 0o755]);
    expect((await receive(two, '--into', 'no/new')).code).toBe(3);
  });
  it('is named as the caller says', async () => {
    expect(await receive(tree, '--name', 'other', 'new')).toMatchObject({ code: 0, err: '' });
    expect(list()).toEqual(['new']);
  });
});

describe('a destination that is a directory', () => {
  beforeEach(() => {
    mkdirSync(join(here, 'old/top/sub'), { recursive: true, mode: 0o711 });
    writeFileSync(join(here, 'old/top/a'), 'before');
    writeFileSync(join(here, 'old/top/kept'), 'kept');
  });
  it('is what entries go into, and keeps its own mode', async () => {
    for (const how of [[], ['--into']]) {
      expect(await receive(tree, ...how, 'old')).toMatchObject({ code: 0, err: '' });
      expect([list('old/top'), text('old/top/a'), mode('old/top'), mode('old')]).toEqual([['a', 'kept', 'sub'], 'one', 0o750, 0o711]);
    }
    expect(await receive(contents, 'old')).toMatchObject({ code: 0, err: '' });
    expect([list('old'), mode('old')]).toEqual([['a', 'top'], 0o711]);
  });
  it('gets the tree merged with --as, with its mode', async () => {
    expect(await receive(tree, '--as', 'old')).toMatchObject({ code: 0, err: '' });
    expect([list('old'), mode('old')]).toEqual([['a', 'sub', 'top'], 0o750]);
    expect(await receive(single, '--as', 'old')).toMatchObject({ code: 3, err: 'copy: old is a directory, and the stream brings a file: nothing was put in place\n' });
    expect(await receive(contents, '--as', 'old')).toMatchObject({ code: 0, err: '' });
    expect(mode('old')).toBe(0o700);
  });
  it('has the tree under the name that the caller chose, and nothing else', async () => {
    expect(await receive(tree, '--name', 'chosen', 'old')).toMatchObject({ code: 0, err: '' });
    expect([list('old'), list('old/chosen')]).toEqual([['chosen', 'top'], ['a', 'sub']]);
    expect(await receive(contents, '--name', 'inner', 'old')).toMatchObject({ code: 0, err: '' });
    expect(list('old/inner')).toEqual(['a']);
    expect((await receive(two, '--name', 'two', 'old')).code).toBe(3);
    expect(list('old')).toEqual(['chosen', 'inner', 'top']);
    // A directory is in the way of a file.
    expect(await receive(single, '--name', 'top', 'old')).toMatchObject({ code: 3, err: expect.stringMatching(/^copy: cannot put top in place: .*: nothing was put in place\n$/) });
    expect([list('old/top'), list('old')]).toEqual([['a', 'kept', 'sub'], ['chosen', 'inner', 'top']]);
  });
  it('keeps what is of another type than the entry, and says so', async () => {
    const clash = Buffer.concat([file('top/sub', 'file over directory'), directory('top/a'), file('top/a/x', 'below a file'), file('top/fine', 'fine'), end]);
    const result = await receive(clash, 'old');
    expect(result).toMatchObject({ code: 1 });
    expect(result.err.split('\n')).toEqual([
      'copy: cannot put in place top/sub: a directory is in the way', 'copy: top/a/ is left out: a is in the way and no directory', 'copy: top/a/x is left out: a is in the way and no directory', '',
    ]);
    expect([text('old/top/a'), text('old/top/fine'), list('old/top')]).toEqual(['before', 'fine', ['a', 'fine', 'kept', 'sub']]);
  });
});

describe('a destination that is something else', () => {
  it('is replaced when it is a file, by a file only', async () => {
    writeFileSync(join(here, 'old'), 'before');
    expect(await receive(tree, 'old')).toMatchObject({ code: 3, err: 'copy: old is a file, and the stream brings a directory: nothing was put in place\n' });
    expect((await receive(single, '--into', 'old')).code).toBe(3);
    expect((await receive(single, 'old/')).code).toBe(3);
    expect(text('old')).toBe('before');
    expect(await receive(single, 'old')).toMatchObject({ code: 0, err: '' });
    expect(text('old')).toBe('text');
  });
  it('is followed when it is a symlink', async () => {
    mkdirSync(join(here, 'real'));
    writeFileSync(join(here, 'real/file'), 'before');
    symlinkSync('real', join(here, 'to-directory'));
    symlinkSync('real/file', join(here, 'to-file'));
    symlinkSync('nowhere', join(here, 'to-nothing'));
    expect(await receive(tree, 'to-directory')).toMatchObject({ code: 0, err: '' });
    expect(await receive(single, 'to-file')).toMatchObject({ code: 0, err: '' });
    expect([list('real'), text('real/file'), readlinkSync(join(here, 'to-file'))]).toEqual([['file', 'top'], 'text', 'real/file']);
    expect(await receive(tree, 'to-nothing')).toMatchObject({ code: 3, err: 'copy: to-nothing is a symlink to nothing: nothing was put in place\n' });
    expect(await receive(single, '--into', 'to-nothing/')).toMatchObject({ code: 3 });
  });
  it('is refused when it is a fifo or a device', async () => {
    execFileSync('mkfifo', [join(here, 'fifo')]);
    for (const path of ['fifo', '/dev/null']) {
      for (const how of [[], ['--into'], ['--as']]) expect(await receive(single, ...how, path)).toMatchObject({ code: 3, err: `copy: ${path} is neither a file nor a directory: nothing was put in place\n` });
    }
    expect(statSync('/dev/null').isCharacterDevice()).toBe(true);
  });
});

it('keeps modes whatever the umask is', async () => {
  const result = await run('sh', ['-c', 'umask 077; exec "$@"', 'sh', copy.asan, 'receive', 'new'], { input: tree, cwd: here });
  expect([result.code, mode('new'), mode('new/a'), mode('new/sub')]).toEqual([0, 0o750, 0o644, 0o755]);
});

it('takes its words as documented, and no others', async () => {
  const wrong = [
    [], ['send'], ['receive'], ['other'], ['send', '--nope', 'x'], ['send', '--base', 'a/b', 'x'], ['send', '--base', '..', 'x'], ['send', '--base', 'a', 'x', 'y'], ['send', '--contents', 'x', 'y'], ['send', ''],
    ['receive', 'a', 'b'], ['receive', '--into', '--as', 'a'], ['receive', '--into', '--name', 'x', 'a'], ['receive', '--name', 'x/y', 'a'], ['receive', ''], ['receive', '--progress-fd', '77', 'a'], ['receive', '--progress-fd', 'x', 'a'],
  ];
  for (const args of wrong) {
    const result = await run(copy.asan, args, { cwd: here });
    expect({ args, code: result.code, usage: result.err.startsWith('usage: copy ') }).toEqual({ args, code: 2, usage: true });
  }
  expect(await receive(single, '--', '-odd')).toMatchObject({ code: 0, err: '' });
  expect(list()).toEqual(['-odd']);
});

it('tells each attribute that cannot be set once', async () => {
  const many = Array.from({ length: 30 }, (_, i) => Buffer.concat([pax({ 'SCHILY.xattr.user.fine': 'x', 'SCHILY.xattr.user.': 'no name' }), file(`top/f${i}`)]));
  const result = await receive(Buffer.concat([...many, end]), 'new');
  expect(result.code).toBe(1);
  expect(result.err.trim().split('\n')).toEqual([expect.stringMatching(/^copy: cannot set the attribute user\. of top\/f0 \(and maybe others\): /)]);
  expect(list('new').length).toBe(30);
});
