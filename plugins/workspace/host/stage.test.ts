import { rmSync, symlinkSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { onDisk } from './bytes.ts';
import { fingerprint, makeWorld, openRepo } from './testing/world.ts';
import type { Repo, World } from './testing/world.ts';

let world: World;
beforeAll(() => { world = makeWorld(); });
afterAll(() => world.close());

/** What git says of a checkout; the same on the host and in the guest. */
function told(repo: Repo): Record<string, string> {
  return {
    status: repo.git('status', '--porcelain=v2', '--untracked-files=no', '-z'),
    staged: repo.git('diff', '--cached', '--binary'),
    unstaged: repo.git('diff', '--binary'),
    index: repo.git('ls-files', '-s', '-v', '-z'),
    head: repo.git('rev-parse', '--symbolic-full-name', 'HEAD'),
    ref: repo.git('branch', '--show-current'),
  };
}
const log = (repo: Repo): string => repo.git('log', '--format=%H %P %s');

/** Prepares, and compares what git says on both sides, and that the host is as it was. */
async function expectSame(host: Repo, options: Parameters<World['prepare']>[1] = {}) {
  // Git itself gives a new time to the shared part of a split index, and to trees that a sparse index stands for, whenever it reads them.
  const renewed = host.git('config', '--default', 'false', '--get', 'index.sparse') === 'true' ? /^\.git\/objects\// : /^\.git\/sharedindex\./;
  const before = fingerprint(host.dir, renewed);
  const done = await world.prepare(host, options);
  expect(fingerprint(host.dir, renewed)).toEqual(before);
  expect(fsck(done.guest)).toBe('');
  expect(told(done.guest)).toEqual(told(host));
  return done;
}
const fsck = (repo: Repo): string => repo.git('fsck', '--full', '--strict', '--no-dangling');

describe('a checkout', () => {
  test('has the last ten commits, the index and the files', async () => {
    const host = world.repo();
    for (let n = 0; n < 15; n += 1) {
      host.write('count', `${n}\n`);
      host.commit(`Commit ${n}`);
    }
    const { guest, staged } = await expectSame(host);
    expect(guest.git('log', '--format=%H %s')).toBe(host.git('log', '-10', '--format=%H %s'));
    expect(staged).toMatchObject({ headBranch: 'main', headCommit: host.git('rev-parse', 'HEAD'), baseTree: host.git('rev-parse', 'HEAD^{tree}') });
    expect(staged.indexDigest).toBe(host.gitWith({ input: host.git('ls-files', '-s', '-z') }, 'hash-object', '--stdin'));
    expect(guest.gitWith({ input: guest.git('ls-files', '-s', '-z') }, 'hash-object', '--stdin')).toBe(staged.indexDigest);
    expect(staged.git.at(-1)).toBe('.git/HEAD');
    expect(guest.git('describe', '--all')).toBe('heads/main');
    expect(staged.control).toEqual(['.git/HEAD', '.git/refs/heads/main']);
  });

  test('takes ten commits of every line of a merge', async () => {
    const host = world.repo();
    host.commit('Root');
    for (const branch of ['a', 'b']) {
      host.git('checkout', '-q', '-b', branch, 'main');
      for (let n = 0; n < 12; n += 1) {
        host.write(branch, `${n}`);
        host.commit(`${branch}${n}`);
      }
    }
    host.git('merge', '-q', '-m', 'Merge', 'a');
    const { guest } = await expectSame(host);
    expect(guest.git('rev-list', '--count', 'HEAD')).toBe('19');
    expect(guest.git('cat-file', 'commit', 'HEAD')).toBe(host.git('cat-file', 'commit', 'HEAD'));
  });

  test('keeps staged and unstaged changes apart', async () => {
    const host = world.repo();
    for (const name of ['both', 'staged', 'unstaged', 'deleted', 'removed', 'renamed', 'kept']) host.write(name, `${name}\n`);
    host.commit();
    host.write('both', 'staged\n');
    host.write('staged', 'staged\n');
    host.write('new', 'new\n');
    host.git('mv', 'renamed', 'moved');
    host.git('add', 'both', 'staged', 'new');
    host.git('rm', '-q', '--cached', 'removed');
    host.write('both', 'unstaged too\n');
    host.write('unstaged', 'unstaged\n');
    rmSync(join(host.dir, 'deleted'));
    const { guest, staged } = await expectSame(host);
    expect(guest.read('both')).toBe('unstaged too\n');
    const show = (path: string): string => host.gitWith({ env: { GIT_ALTERNATE_OBJECT_DIRECTORIES: staged.objectsDir } }, 'show', `${staged.baseTree}:${path}`);
    expect(show('both')).toBe('unstaged too');
    expect(host.gitWith({ env: { GIT_ALTERNATE_OBJECT_DIRECTORIES: staged.objectsDir } }, 'ls-tree', '--name-only', staged.baseTree).split('\n'))
      .toEqual(['both', 'kept', 'moved', 'new', 'staged', 'unstaged']);
  });

  test('keeps the flags of its index', async () => {
    const host = world.repo();
    for (const name of ['assumed', 'skipped', 'plain']) host.write(name, `${name}\n`);
    host.commit();
    host.write('intended', 'not yet\n');
    host.git('add', '-N', 'intended');
    host.git('update-index', '--assume-unchanged', 'assumed');
    host.git('update-index', '--skip-worktree', 'skipped');
    const { guest } = await expectSame(host);
    expect(guest.git('status', '--porcelain')).toBe(' A intended\n?? skipped'.split('\n')[0]);
    expect(guest.git('ls-files', '-v').split('\n')).toEqual(['h assumed', 'H intended', 'H plain', 'S skipped']);
  });

  test('has every kind of file and name', async () => {
    const host = world.repo();
    for (const name of ['a space', 'quo"te', "apo'strophe", 'new\nline', 'tab\t', 'back\\slash', '\xff\xfe', 'gr\xc3\xbc\xc3\x9fe', '-dash', ' lead', 'd/e/e/p', ':colon', '*', '\x1b[31m']) host.write(name, name);
    host.write('empty', '');
    host.write('run', '#!/bin/sh\n', 0o755);
    symlinkSync('run', join(host.dir, 'link'));
    symlinkSync('no/such', join(host.dir, 'dangling'));
    symlinkSync(Buffer.from('\xff', 'latin1'), onDisk(host.dir, 'link \xfe'));
    host.commit();
    const { guest, staged, plan } = await expectSame(host);
    expect(staged.files.map((file) => file.path)).toEqual(plan.files.map((file) => file.path));
    expect(plan.files.map((file) => file.path)).toEqual(host.git('ls-files', '-z').split('\0').slice(0, -1));
    expect(guest.git('status', '--porcelain', '-z')).toBe('');
    expect(staged.baseTree).toBe(host.git('rev-parse', 'HEAD^{tree}'));
  });

  test('is detached when the host is', async () => {
    const host = world.repo();
    host.commit('One');
    host.commit('Two');
    host.git('checkout', '-q', '--detach', 'HEAD~1');
    const { guest, staged } = await expectSame(host);
    expect(staged.headBranch).toBeUndefined();
    expect(log(guest)).toBe(log(host));
  });

  test('has no commit when the branch has none', async () => {
    const host = world.repo();
    const bare = await world.prepare(host);
    expect(bare.guest.git('status', '--porcelain=v2', '--branch')).toBe('# branch.oid (initial)\n# branch.head main');
    expect(fsck(bare.guest)).toMatch(/^(notice: .*\n?)*$/);
    host.write('first', 'first\n');
    host.write('second', 'second\n');
    host.git('add', 'first');
    const { guest, staged } = await world.prepare(host);
    expect(guest.git('status', '--porcelain')).toBe('A  first');
    expect(staged.headCommit).toBeUndefined();
    guest.commit('The first one');
    expect(fsck(guest)).toBe('');
  });

  test('of a linked working tree has its HEAD and index', async () => {
    const host = world.repo();
    host.write('f', 'main\n');
    host.commit();
    const linked = join(world.dir, 'linked tree');
    host.git('worktree', 'add', '-q', '-b', 'side', linked);
    const side = openRepo(linked);
    side.write('f', 'side\n');
    side.git('add', 'f');
    const before = fingerprint(host.dir);
    const { guest, plan } = await expectSame(side);
    expect(fingerprint(host.dir)).toEqual(before);
    expect(plan.guestPath).toBe('/root/linked_tree');
    expect(guest.git('branch', '--show-current')).toBe('side');
  });

  test('reads a repository with SHA-256', async () => {
    const host = world.repo('sha256', '--object-format=sha256');
    host.write('f', 'f\n');
    host.commit();
    host.write('f', 'changed\n');
    const { guest, staged } = await expectSame(host);
    expect(guest.git('rev-parse', 'HEAD')).toMatch(/^[0-9a-f]{64}$/);
    expect(staged.indexDigest).toBe(host.gitWith({ input: host.git('ls-files', '-s', '-z') }, 'hash-object', '--stdin'));
  });

  test.each([['split', 'core.splitIndex', 'true'], ['with an untracked cache', 'core.untrackedCache', 'true'], ['of version 4', 'index.version', '4']])('reads an index that is %s', async (_, key, value) => {
    const host = world.repo();
    for (let n = 0; n < 40; n += 1) host.write(`d${n % 4}/f${n}`, `${n}`);
    host.commit();
    host.git('config', key, value);
    if (value === 'true') host.git('update-index', key.includes('split') ? '--split-index' : '--force-untracked-cache');
    host.write('d1/new', 'new');
    host.git('add', 'd1/new');
    host.git('status');
    const { guest } = await expectSame(host);
    rmSync(join(guest.dir, '.git/info'), { recursive: true });
    expect(guest.git('status', '--porcelain')).toBe('A  d1/new');
  });

  test.each([[false], [true]])('of a sparse checkout is sparse (sparse index: %s)', async (isSparseIndex) => {
    const host = world.repo();
    for (let n = 0; n < 20; n += 1) host.write(`d${n % 4}/f${n}`, `${n}`);
    host.write('top', 'top');
    host.commit();
    host.git('sparse-checkout', 'set', '--cone', isSparseIndex ? '--sparse-index' : '--no-sparse-index', 'd1');
    host.write('d1/f1', 'changed');
    const { guest, staged } = await expectSame(host);
    expect(staged.files.map(({ path }) => path)).toEqual(['d1/f1', 'd1/f13', 'd1/f17', 'd1/f5', 'd1/f9', 'top']);
    expect(guest.git('sparse-checkout', 'list')).toBe('d1');
    guest.git('sparse-checkout', 'disable');
    expect(guest.read('d2/f2')).toBe('2');
    expect(fsck(guest)).toBe('');
  });

  test('of another commit is whole in a sparse checkout', async () => {
    const host = world.repo();
    for (const name of ['d1/f', 'd2/f', 'top']) host.write(name, name);
    host.commit();
    host.commit('Second');
    host.git('sparse-checkout', 'set', 'd1');
    const { guest } = await world.prepare(host, { branch: 'b', from: 'HEAD~1' });
    expect(guest.git('status', '--porcelain=v2')).toBe('');
    expect(guest.git('ls-files', '-t')).toBe('H d1/f\nH d2/f\nH top');
  });

  test('ignores and converts as the host does by its global files', async () => {
    const host = world.repo();
    host.write('.git/global-ignore', '*.global\n!kept.own');
    host.write('.git/global-attributes', '*.crlf text eol=crlf\n');
    host.git('config', 'core.excludesFile', join(host.dir, '.git/global-ignore'));
    host.git('config', 'core.attributesFile', join(host.dir, '.git/global-attributes'));
    host.write('.git/info/exclude', '*.own\n');
    host.write('.git/info/attributes', 'marked diff=x\n');
    host.write('a.crlf', 'one\r\n');
    host.commit();
    const guestPath = join(world.dir, 'guest-global');
    const plan = await world.plan(host, { guestPath });
    const guest = world.land(await world.stage(plan), guestPath);
    for (const name of ['x.global', 'kept.own', 'x.other']) guest.write(name, '');
    expect(guest.git('status', '--porcelain')).toBe('?? x.other');
    guest.write('a.crlf', 'two\r\n');
    guest.git('add', 'a.crlf');
    expect(guest.git('show', ':a.crlf')).toBe('two');
    expect(guest.git('check-attr', 'diff', 'marked')).toBe('marked: diff: x');
  });

  test('of a shallow repository ends where it does', async () => {
    const origin = world.repo();
    for (let n = 0; n < 6; n += 1) origin.commit(`${n}`);
    const at = join(world.dir, 'shallow-clone');
    origin.git('clone', '-q', '--depth=3', `file://${origin.dir}`, at);
    const host = openRepo(at);
    const { guest } = await expectSame(host);
    expect(log(guest)).toBe(log(host));
    const whole = await world.prepare(host, { mode: 'full_copy' });
    expect(fsck(whole.guest)).toBe('');
    expect(log(whole.guest)).toBe(log(host));
  });

  test('reads objects of another repository that this one borrows from', async () => {
    const lender = world.repo('len:der "x"');
    lender.write('f', 'borrowed');
    lender.commit();
    const at = join(world.dir, 'borrower');
    lender.git('clone', '-q', '--shared', lender.dir, at);
    await expectSame(openRepo(at));
  });

  test('does not count on a file that was written as the index was', async () => {
    const host = world.repo();
    host.write('f', 'aaaa');
    host.commit();
    const { mtimeMs } = (await import('node:fs')).statSync(join(host.dir, '.git/index'));
    const second = Math.floor(mtimeMs / 1000);
    host.write('f', 'bbbb');
    utimesSync(join(host.dir, 'f'), second, second);
    utimesSync(join(host.dir, '.git/index'), second, second);
    const { guest } = await expectSame(host);
    expect(guest.git('status', '--porcelain')).toBe(' M f');
  });
});

describe('conversions', () => {
  test('leave line ends as they are on disk', async () => {
    const host = world.repo();
    host.git('config', 'core.autocrlf', 'true');
    host.write('.gitattributes', '*.bat text eol=crlf\n*.sh text eol=lf\n');
    host.write('a.txt', 'one\r\ntwo\r\n');
    host.write('b.bat', 'rem\r\n');
    host.write('c.sh', 'true\n');
    host.commit();
    host.git('rm', '-rq', '--cached', '.');
    host.git('reset', '-q', '--hard');
    const { guest, staged } = await expectSame(host);
    expect(guest.read('a.txt')).toBe('one\r\ntwo\r\n');
    expect(guest.git('status', '--porcelain')).toBe('');
    expect(staged.baseTree).toBe(host.git('rev-parse', 'HEAD^{tree}'));
    guest.write('a.txt', 'one\r\nthree\r\n');
    expect(guest.git('diff', '--numstat')).toBe('1\t1\ta.txt');
  });

  test('of a filter that the guest has not change nothing there', async () => {
    const host = world.repo();
    host.git('config', 'filter.up.clean', 'tr A-Z a-z');
    host.git('config', 'filter.up.smudge', 'tr a-z A-Z');
    host.git('config', 'filter.up.required', 'true');
    host.write('.gitattributes', '*.up filter=up\n');
    host.write('a.up', 'HELLO\n');
    host.write('b.up', 'WORLD\n');
    host.commit();
    expect(host.git('show', 'HEAD:a.up')).toBe('hello');
    const clean = await world.prepare(host);
    expect(clean.guest.read('a.up')).toBe('HELLO\n');
    expect(clean.guest.git('status', '--porcelain')).toBe('');
    expect(clean.staged.baseTree).toBe(host.git('rev-parse', 'HEAD^{tree}'));
    host.write('b.up', 'CHANGED\n');
    const dirty = await world.prepare(host);
    expect(dirty.guest.git('status', '--porcelain')).toBe(' M b.up');
    dirty.guest.git('add', '-u');
    expect(dirty.guest.git('write-tree')).toBe(dirty.staged.baseTree);
  });

  test('of a filter whose program is missing stop nothing', async () => {
    const host = world.repo();
    host.write('big.bin', 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n');
    host.write('other.bin', 'version https://git-lfs.github.com/spec/v1\noid sha256:11\nsize 5\n');
    host.commit();
    host.write('.gitattributes', '*.bin filter=lfs diff=lfs merge=lfs -text\n');
    host.git('add', '.gitattributes');
    host.git('commit', '-q', '-m', 'Attributes');
    for (const [key, value] of [['clean', 'no-such-program clean %f'], ['smudge', 'no-such-program smudge %f'], ['process', 'no-such-program filter'], ['required', 'true']] as const) host.git('config', `filter.lfs.${key}`, value);
    utimesSync(join(host.dir, 'big.bin'), 1, 1);
    host.write('other.bin', 'smudged');
    const { guest, staged } = await world.prepare(host);
    expect(guest.git('status', '--porcelain')).toBe(' M other.bin');
    expect(host.gitWith({ env: { GIT_ALTERNATE_OBJECT_DIRECTORIES: staged.objectsDir } }, 'show', `${staged.baseTree}:other.bin`)).toBe('smudged');
    const from = await world.prepare(host, { branch: 'b', from: 'HEAD~1' });
    expect(from.guest.git('status', '--porcelain')).toBe('');
  });
});
