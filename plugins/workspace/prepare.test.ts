// Prepares with this host as the guest: what of the guest is refused, kept, or given up when told to.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { gitEnvironment } from '../../test/support/repo-script.ts';
import { waitFor } from '../../test/support/wait.ts';
import { lockOptions } from './deps.ts';
import { eachHere } from './testing/each-here.ts';
import type { Here } from './testing/here.ts';

let dir: string;
let here: Here;
let host: string;
let guest: string;
eachHere((made, its) => {
  [here, dir] = [made, its];
  [host, guest] = [join(here.dir, 'project'), join(here.guestDir, 'project')];
  makeRepo(host);
});

function git(at: string, ...args: readonly string[]): string {
  return execFileSync('git', ['-C', at, '-c', 'protocol.file.allow=always', ...args], { env: gitEnvironment(), encoding: 'latin1', stdio: ['pipe', 'pipe', 'pipe'] }).trimEnd();
}
function put(at: string, path: string, text = 'text\n'): void {
  const file = Buffer.from(join(at, path), 'latin1');
  mkdirSync(Buffer.from(dirname(join(at, path)), 'latin1'), { recursive: true });
  writeFileSync(file, text);
}
function makeRepo(at: string): void {
  git(dir, 'init', '-q', '-b', 'main', at);
  put(at, 'a');
  commit(at);
}
function commit(at: string, ...paths: readonly string[]): string {
  git(at, 'add', ...(paths.length > 0 ? paths : ['-A']));
  git(at, 'commit', '-qm', 'A commit', '--allow-empty');
  return git(at, 'rev-parse', 'HEAD');
}
const prepare = (how: { readonly clean?: boolean; readonly force?: boolean; readonly path?: string } = {}): Promise<string | undefined> =>
  here.prepare({ path: host, guestPath: guest, mode: 'shallow', includeUntracked: false, force: false, ...how });
const files = (at: string): readonly string[] => readdirSync(at, { recursive: true, encoding: 'latin1' }).filter((path) => !path.startsWith('.git')).toSorted();

describe('a submodule', () => {
  /** Where its git directory is in the guest. */
  let modules: string;
  let inner: string;
  beforeEach(async () => {
    const library = join(dir, 'library');
    makeRepo(library);
    git(host, 'submodule', '--quiet', 'add', library, 'sub');
    commit(host);
    [inner, modules] = [join(guest, 'sub'), join(guest, '.git/modules/sub')];
    expect(await prepare()).toBeUndefined();
    expect(git(inner, 'status', '--porcelain')).toBe('');
  });

  test('is left alone where the guest did nothing in it', async () => {
    put(join(host, 'sub'), 'new');
    commit(join(host, 'sub'));
    commit(host);
    expect(await prepare()).toBeUndefined();
    expect([git(inner, 'status', '--porcelain'), git(inner, 'rev-parse', 'HEAD')]).toEqual(['', git(join(host, 'sub'), 'rev-parse', 'HEAD')]);
  });

  test('keeps what the guest staged in it', async () => {
    put(inner, 'staged');
    git(inner, 'add', 'staged');
    put(inner, 'staged', 'and edited\n');
    put(host, 'a', 'edited\n');
    expect(await prepare()).toContain('sub/.git/index');
    expect([git(inner, 'show', ':staged'), readFileSync(join(guest, 'a'), 'utf8')]).toEqual(['text', 'text\n']);
    expect(await prepare({ clean: true })).toContain('sub/.git/index');
    expect(await prepare({ force: true })).toBeUndefined();
    expect([git(inner, 'status', '--porcelain'), readFileSync(join(guest, 'a'), 'utf8')]).toEqual(['?? staged', 'edited\n']);
  });

  test.each(['on its branch', 'on none'])('keeps the commits of the guest %s, and their name when it is told to go over them', async (where) => {
    const before = git(inner, 'rev-parse', 'HEAD');
    if (where === 'on none') git(inner, 'checkout', '-q', '--detach');
    put(inner, 'a', 'of the guest\n');
    const made = commit(inner);
    put(host, 'a', 'edited\n');
    expect(await prepare()).toContain('sub/.git/HEAD');
    expect(git(inner, 'rev-parse', 'HEAD')).toBe(made);
    expect(await prepare({ force: true })).toBeUndefined();
    expect(git(inner, 'rev-parse', 'HEAD')).toBe(before);
    expect(git(inner, 'symbolic-ref', 'HEAD')).toBe('refs/heads/main');
    expect(git(inner, 'for-each-ref', '--format=%(objectname)', 'refs/banger/before')).toBe(made);
    git(inner, 'fsck', '--full');
  });

  test('takes the commits of the guest for kept once the host has them', async () => {
    put(inner, 'a', 'of the guest\n');
    commit(inner);
    git(join(host, 'sub'), 'fetch', '-q', inner, 'main:theirs');
    expect(await prepare()).toBeUndefined();
    expect(git(inner, 'rev-parse', 'HEAD')).toBe(git(join(host, 'sub'), 'rev-parse', 'HEAD'));
  });

  test('keeps a branch of the guest where the host makes one of that name', async () => {
    git(inner, 'checkout', '-qb', 'topic');
    put(inner, 'a', 'of the guest\n');
    const made = commit(inner);
    git(inner, 'checkout', '-q', 'main');
    git(join(host, 'sub'), 'checkout', '-qb', 'topic');
    commit(join(host, 'sub'));
    expect(await prepare()).toContain('sub/.git/refs/heads/topic');
    expect(git(inner, 'rev-parse', 'topic')).toBe(made);
    expect(await prepare({ force: true })).toBeUndefined();
    expect(git(inner, 'rev-parse', 'topic')).toBe(git(join(host, 'sub'), 'rev-parse', 'topic'));
  });

  test('loses no branch and no stash to --clean', async () => {
    git(inner, 'branch', 'topic', commit(inner));
    git(inner, 'reset', '-q', '--hard', 'HEAD~1');
    put(inner, 'a', 'stashed\n');
    git(inner, 'stash', '-q');
    const said = await prepare({ clean: true });
    expect(said).toContain('sub/.git/refs/heads/topic');
    expect(said).toContain('sub/.git/refs/stash');
    expect(git(inner, 'stash', 'list')).not.toBe('');
    expect(await prepare({ clean: true, force: true })).toBeUndefined();
    expect(git(inner, 'stash', 'list')).toBe('');
  });

  test('that the guest gave up, or whose refs it packed, goes in again', async () => {
    git(inner, 'pack-refs', '--all');
    expect(await prepare()).toBeUndefined();
    git(guest, 'submodule', '--quiet', 'deinit', '-f', 'sub');
    put(join(host, 'sub'), 'a', 'edited\n');
    expect(await prepare()).toBeUndefined();
    expect(readFileSync(join(inner, 'a'), 'utf8')).toBe('edited\n');
  });

  test('that the host had not, and the guest has, is looked at as well', async () => {
    makeRepo(join(dir, 'second'));
    for (const side of [host, guest]) git(side, 'submodule', '--quiet', 'add', join(dir, 'second'), 'more');
    const more = join(guest, 'more');
    // The same on both sides, but for the times of the files.
    execFileSync('touch', ['-r', join(host, 'more/a'), join(more, 'a')]);
    execFileSync('touch', ['-r', join(host, '.gitmodules'), join(guest, '.gitmodules')]);
    git(guest, 'reset', '-q');
    const made = commit(more);
    expect(await prepare()).toContain('more/.git/HEAD');
    expect(git(more, 'rev-parse', 'HEAD')).toBe(made);
    git(more, 'reset', '-q', '--hard', 'HEAD~1');
    put(more, 'staged');
    git(more, 'add', 'staged');
    expect(await prepare()).toContain('more/.git/index');
    git(more, 'reset', '-q');
    expect(await prepare()).toBeUndefined();
    expect(git(more, 'status', '--porcelain')).toBe('?? staged');
    expect(existsSync(modules)).toBe(true);
  });

  test('is not written into a repository of the guest that took its place', async () => {
    rmSync(inner, { recursive: true });
    git(guest, 'clone', '-q', join(dir, 'library'), 'sub');
    const made = commit(inner);
    expect(await prepare()).toContain('sub/.git');
    expect(git(inner, 'rev-parse', 'HEAD')).toBe(made);
    expect(await prepare({ force: true })).toBeUndefined();
    expect(git(inner, 'rev-parse', '--absolute-git-dir')).toBe(modules);
  });
});

describe('a directory of the guest where the host has a file now', () => {
  const toFile = (name: string): void => {
    rmSync(Buffer.from(join(host, name), 'latin1'), { recursive: true });
    put(host, name, 'a file\n');
    commit(host);
  };

  test('is refused before anything is removed, when it holds more than was sent', async () => {
    put(host, 'thing/one');
    put(host, 'thing/deep/two');
    put(host, 'other/three');
    commit(host);
    expect(await prepare()).toBeUndefined();
    put(guest, 'thing/deep/own');
    rmSync(join(host, 'other'), { recursive: true });
    toFile('thing');
    const before = files(guest);
    expect(await prepare()).toContain('"thing"');
    expect(files(guest)).toEqual(before);
    expect(await prepare({ force: true })).toBeUndefined();
    expect(files(guest)).toEqual(['a', 'thing']);
  });

  test('gives way when all of it was sent, or is gone in the guest', async () => {
    put(host, 'thing/one');
    put(host, 'thing/deep/two');
    commit(host);
    expect(await prepare()).toBeUndefined();
    rmSync(join(guest, 'thing/one'));
    toFile('thing');
    expect(await prepare()).toBeUndefined();
    expect(files(guest)).toEqual(['a', 'thing']);
  });

  test('goes when told to, whatever its name is', async () => {
    const name = 'th\xefng';
    put(host, `${name}/one`);
    put(host, 'new/x');
    commit(host);
    expect(await prepare()).toBeUndefined();
    put(guest, `${name}/own`);
    toFile(name);
    put(guest, 'n\xe9w/own');
    put(host, 'n\xe9w', 'a file\n');
    commit(host);
    expect(await prepare()).toContain('th\\\\xefng');
    expect(await prepare({ force: true })).toBeUndefined();
    expect(readFileSync(Buffer.from(join(guest, name), 'latin1'), 'utf8')).toBe('a file\n');
    expect(readFileSync(Buffer.from(join(guest, 'n\xe9w'), 'latin1'), 'utf8')).toBe('a file\n');
  });
});

test('what the host has when its turn has come is what goes in', async () => {
  expect(await prepare()).toBeUndefined();
  const release = await here.deps.locks.acquire('aaaaaaaaaaaa', lockOptions('devbox', 'a test', new AbortController().signal));
  const before = here.asked;
  const waiting = prepare();
  await waitFor('the prepare to have planned', () => here.asked > before);
  git(host, 'checkout', '-qb', 'later');
  put(host, 'a', 'later\n');
  const made = commit(host);
  release();
  expect(await waiting).toBeUndefined();
  expect([git(guest, 'rev-parse', 'HEAD'), git(guest, 'symbolic-ref', '--short', 'HEAD'), git(guest, 'status', '--porcelain')]).toEqual([made, 'later', '']);
});
