import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { git, untouchedState } from '../../../test/support/repo-snapshot.ts';
import { importWork, quarantineDir } from './import.ts';
import type { GuestWork } from './import.ts';
import { bangerRefs, exec, fsck, gitFiles, makeSmall, never, run } from './testing/guest.ts';
import type { World } from './testing/guest.ts';
import { useWorlds } from './testing/worlds.ts';

const world = useWorlds();

const bring = async (at: World, work: GuestWork) => importWork(exec, await at.repo(), work, { signal: never });
const treeOf = (at: World, ref: string): string => git(at.host, 'rev-parse', `${ref}^{tree}`);

test('brings commits, index and working files of a guest in, as refs of our own', async () => {
  const at = world();
  at.put('guest', 'a', 'one\n2\nthree\n');
  at.commit('guest', 'second');
  at.put('guest', 'staged', 'staged\n');
  git(at.guest, 'add', 'staged');
  at.put('guest', 'new/deep', 'untracked\n');
  at.put('guest', 'x.log', 'ignored\n');
  const work = at.work();
  const { refs, ...counts } = await bring(at, work);
  expect(counts).toEqual({ commits: 1, changedFiles: 3 });
  expect(Object.values(refs).toSorted()).toEqual(bangerRefs(at.host));
  expect(git(at.host, 'rev-parse', refs.head!)).toBe(work.head);
  expect([treeOf(at, refs.base), treeOf(at, refs.index!), treeOf(at, refs.worktree)]).toEqual([work.base.tree, work.indexTree, work.worktreeTree]);
  expect([git(at.host, 'rev-parse', `${refs.base}^`), git(at.host, 'rev-parse', `${refs.index!}^`), git(at.host, 'rev-parse', `${refs.worktree}^`)]).toEqual([work.base.commit, work.head, work.head]);
  expect(git(at.host, 'ls-tree', '-r', '--name-only', refs.worktree)).toBe('.gitignore\na\nb\nd/e\nnew/deep\nstaged');
  expect(git(at.host, 'log', '-1', '--format=%an %ae', refs.worktree)).toBe('banger banger@localhost');
  fsck(at.host);
});

test('changes nothing of the host but a pack and its refs', async () => {
  const at = world();
  git(at.host, 'config', 'core.logAllRefUpdates', 'always');
  at.put('host', 'a', 'dirty\n');
  at.put('host', 'mine', 'untracked\n');
  at.put('guest', 'b', 'changed\n');
  at.commit('guest', 'second');
  const work = at.work();
  const [state, files] = [untouchedState(at.host), gitFiles(at.host)];
  await bring(at, work);
  expect(untouchedState(at.host)).toEqual(state);
  const now = gitFiles(at.host);
  expect(files.filter((line) => !now.includes(line) && !/ d \d+$/.test(line))).toEqual([]);
  const added = now.filter((line) => !files.includes(line) && !/ d \d+$/.test(line)).map((line) => line.split(' ')[0]!.replace(/pack-[0-9a-f]+/, 'pack-X'));
  const expected = ['base', 'head', 'index', 'worktree'].map((kind) => `refs/banger/devbox/op-aaaaaaaa/${kind}`);
  expect(added.filter((name) => !name.endsWith('.rev'))).toEqual(['objects/pack/pack-X.idx', 'objects/pack/pack-X.pack', ...expected]);
});

test('leaves objects out that the guest packed and the work does not need', async () => {
  const at = world();
  at.put('guest', 'b', 'changed\n');
  const work = at.work();
  const junk = run(at.guest, ['hash-object', '-w', '--stdin'], { input: 'junk' }).trim();
  const wanted = git(at.guest, 'rev-list', '--objects', '--no-object-names', work.worktreeTree);
  writeFileSync(work.packFile, Buffer.from(run(at.guest, ['pack-objects', '--stdout', '-q', '--window=0', '--no-reuse-delta'], { input: `${wanted}\n${junk}\n` }), 'latin1'));
  const { refs } = await bring(at, work);
  expect(() => git(at.host, 'cat-file', '-t', junk)).toThrow(/could not get object info/);
  expect(git(at.host, 'cat-file', 'blob', `${refs.worktree}:b`)).toBe('changed');
});

test('carries what git can hold: links, modes, odd names, bytes', async () => {
  const at = world();
  symlinkSync('../nowhere', join(at.guest, 'link'));
  at.put('guest', 'tool', '#!/bin/sh\n');
  chmodSync(join(at.guest, 'tool'), 0o755);
  for (const name of ['new\nline', 'quo"te', 'sp ace', '-dash', '\\back']) at.put('guest', name, name);
  writeFileSync(Buffer.concat([Buffer.from(`${at.guest}/`), Buffer.from([0xff, 0xfe])]), '\0binary');
  const work = at.work();
  const { refs, changedFiles } = await bring(at, work);
  expect(changedFiles).toBe(8);
  expect(treeOf(at, refs.worktree)).toBe(work.worktreeTree);
});

test('works for an unborn branch on both sides', async () => {
  const at = world({ make: (host) => { git(host, 'init', '-q'); writeFileSync(join(host, 'x'), 'x'); git(host, 'add', 'x'); } });
  at.put('guest', 'y', 'y');
  const { refs, commits, changedFiles } = await bring(at, at.work());
  expect(refs.head).toBeUndefined();
  expect([commits, changedFiles]).toEqual([0, 1]);
  expect(git(at.host, 'rev-list', '--count', refs.worktree)).toBe('1');
  fsck(at.host);
});

test('takes the first commit of a guest whose host has none', async () => {
  const at = world({ make: (host) => { git(host, 'init', '-q'); } });
  at.put('guest', 'y', 'y');
  at.commit('guest', 'first');
  const { refs, commits, changedFiles } = await bring(at, at.work());
  expect([commits, changedFiles, git(at.host, 'show', `${refs.head!}:y`)]).toEqual([1, 1, 'y']);
});

test('works in a repository with sha256', async () => {
  const at = world({ make: (host) => { git(host, 'init', '-q', '--object-format=sha256'); writeFileSync(join(host, 'x'), 'x'); git(host, 'add', 'x'); git(host, 'commit', '-q', '-m', 'first'); } });
  at.put('guest', 'x', 'y');
  const { refs } = await bring(at, at.work());
  expect(git(at.host, 'show', `${refs.worktree}:x`)).toBe('y');
  await expect(bring(at, at.work('op-b', { head: 'a'.repeat(40) }))).rejects.toMatchObject({ code: 'workspace.rejected' });
});

test('from a linked working tree the refs go to the common directory', async () => {
  const at = world({ make: (host) => {
    const main = join(host, '../main');
    mkdirSync(main);
    makeSmall(main);
    git(main, 'worktree', 'add', '-q', '-b', 'side', host);
  } });
  // The copy's `.git` file leads to the host: the guest has a clone in its place.
  execFileSync('rm', ['-rf', at.guest]);
  git(at.dir, 'clone', '-q', '-b', 'side', join(at.dir, 'main'), at.guest);
  at.put('guest', 'b', 'changed\n');
  at.commit('guest', 'second');
  const { refs } = await bring(at, at.work());
  expect(bangerRefs(join(at.dir, 'main'))).toEqual(Object.values(refs).toSorted());
  expect(git(at.host, 'show', `${refs.worktree}:b`)).toBe('changed');
  fsck(at.host);
});

test('works between shallow repositories', async () => {
  const deep = (host: string): void => {
    const main = join(host, '../main');
    mkdirSync(main);
    makeSmall(main);
    for (let n = 0; n < 5; n += 1) git(main, 'commit', '-q', '--allow-empty', '-m', `c${n}`);
    git(join(host, '..'), 'clone', '-q', '--depth=3', `file://${main}`, host);
  };
  const at = world({ make: deep, depth: 1 });
  at.put('guest', 'b', 'changed\n');
  at.commit('guest', 'second');
  const { refs, commits } = await bring(at, at.work());
  expect([commits, git(at.host, 'rev-list', '--count', refs.head!)]).toEqual([1, '4']);
  fsck(at.host);
});

test('works in a partial clone, and fetches nothing for it', async () => {
  const at = world({ make: (host) => {
    const main = join(host, '../main');
    mkdirSync(main);
    makeSmall(main);
    writeFileSync(join(main, 'b'), 'new\n');
    git(main, 'commit', '-q', '-a', '-m', 'second');
    git(main, 'config', 'uploadpack.allowFilter', 'true');
    git(join(host, '..'), 'clone', '-q', '--filter=blob:none', '--sparse', `file://${main}`, host);
  } });
  at.put('guest', 'b', 'changed\n');
  at.commit('guest', 'third');
  const { refs } = await bring(at, at.work());
  expect(git(at.host, 'show', `${refs.worktree}:b`)).toBe('changed');
  expect(git(at.host, 'rev-list', '--objects', '--missing=print', '--all')).toContain('?');
});

test('works in a clone that borrows objects', async () => {
  const at = world({ make: (host) => {
    const main = join(host, '../main');
    mkdirSync(main);
    makeSmall(main);
    git(join(host, '..'), 'clone', '-q', '--shared', main, host);
  } });
  at.put('guest', 'b', 'changed\n');
  at.commit('guest', 'second');
  const { refs } = await bring(at, at.work());
  expect(git(at.host, 'show', `${refs.worktree}:b`)).toBe('changed');
  fsck(at.host);
});

test('says that it is the host when a ref of it is broken', async () => {
  const at = world();
  at.put('guest', 'b', 'changed\n');
  writeFileSync(join(at.host, '.git/refs/heads/broken'), `${'ab'.repeat(20)}\n`);
  await expect(bring(at, at.work())).rejects.toMatchObject({ code: 'operation_failed', message: expect.stringContaining('refs/heads/broken') as string });
  expect(bangerRefs(at.host)).toEqual([]);
});

test('keeps what the work needs through housekeeping, though the host lets go of where it began', async () => {
  const at = world();
  at.put('host', 'b', 'was dirty\n');
  at.put('guest', 'a', 'changed\n');
  const head = at.base.commit!;
  const { refs } = await bring(at, at.work());
  // History written anew, nothing but our refs knows the old commit.
  git(at.host, 'checkout', '-q', '-f', '--orphan', 'other');
  git(at.host, 'commit', '-q', '-m', 'other');
  git(at.host, 'branch', '-q', '-D', 'main');
  git(at.host, 'reflog', 'expire', '--expire=now', '--all');
  git(at.host, 'gc', '-q', '--prune=now');
  expect(git(at.host, 'rev-parse', `${refs.worktree}^`)).toBe(head);
  fsck(at.host);
});

/** An import, with git's housekeeping before one of its steps. */
async function bringDuring(at: World, work: GuestWork, step: number, gc: readonly string[]): Promise<unknown> {
  let calls = 0;
  const busy = { run: async (...args: Parameters<typeof exec.run>) => {
    if (calls++ === step) git(at.host, 'gc', '-q', ...gc);
    return exec.run(...args);
  } };
  return importWork(busy, await at.repo(), work, { signal: never }).catch((error: unknown) => error);
}

test('does not mind housekeeping at any step', async () => {
  const at = world();
  at.put('guest', 'a', 'changed\n');
  at.commit('guest', 'second');
  for (let step = 1; step < 20; step += 3) expect(await bringDuring(at, at.work(`op-gc${step}`), step, [])).toMatchObject({ commits: 1 });
  fsck(at.host);
});

test('imports whole or not at all while housekeeping removes all that is new', async () => {
  const at = world();
  at.put('guest', 'a', 'changed\n');
  at.commit('guest', 'second');
  const outcomes = new Set<boolean>();
  for (let step = 0; step < 21; step += 3) {
    const work = at.work(`op-gc${step}`);
    const made = await bringDuring(at, work, step, ['--prune=now']);
    fsck(at.host);
    expect(existsSync(quarantineDir(await at.repo(), work.operation))).toBe(false);
    expect(bangerRefs(at.host).filter((name) => name.includes(`/${work.operation}/`)).length).toBe(made instanceof Error ? 0 : 4);
    outcomes.add(made instanceof Error);
    if (made instanceof Error) await bring(at, work);
  }
  // Before the first step and after the last there is nothing to remove; in between the quarantine is.
  expect([...outcomes].toSorted()).toEqual([false, true]);
});

test('cancelled at any step, it is done whole or not at all', async () => {
  const at = world();
  at.put('guest', 'a', 'changed\n');
  at.commit('guest', 'second');
  const outcomes: boolean[] = [];
  for (let step = 0; step < 24; step += 2) {
    const work = at.work(`op-cancel${step}`);
    const stop = new AbortController();
    let calls = 0;
    const counting = { run: async (...args: Parameters<typeof exec.run>) => {
      const running = exec.run(...args);
      if (calls++ === step) stop.abort();
      return running;
    } };
    const made = await importWork(counting, await at.repo(), work, { signal: stop.signal }).catch((error: unknown) => error);
    const isDone = !(made instanceof Error);
    expect(bangerRefs(at.host).filter((name) => name.includes(`/${work.operation}/`)).length).toBe(isDone ? 4 : 0);
    expect(existsSync(quarantineDir(await at.repo(), work.operation))).toBe(false);
    outcomes.push(isDone);
  }
  expect([outcomes[0], outcomes.at(-1)]).toEqual([false, true]);
  fsck(at.host);
});

test('answers the same when it is done again, and refuses other work under the name', async () => {
  const at = world();
  at.put('guest', 'a', 'changed\n');
  const work = at.work();
  const first = await bring(at, work);
  const files = gitFiles(at.host);
  expect(await bring(at, work)).toEqual(first);
  expect(gitFiles(at.host)).toEqual(files);
  at.put('guest', 'a', 'again\n');
  await expect(bring(at, at.work())).rejects.toMatchObject({ code: 'already_exists' });
  expect(readFileSync(join(at.host, 'a'), 'utf8')).toBe('one\ntwo\nthree\n');
});

test('writes no ref outside of its own', async () => {
  const at = world();
  for (const name of ['../heads', 'a/b', '', '-x', 'x.lock', 'a..b', 'X', 'a\nb', 'ä']) {
    await expect(bring(at, at.work(name))).rejects.toMatchObject({ code: 'bad_request' });
    await expect(bring(at, at.work('op-a', { vm: name }))).rejects.toMatchObject({ code: 'bad_request' });
  }
  expect(git(at.host, 'for-each-ref', '--format=%(refname)')).toBe('refs/heads/main');
});

test('tells when the repository is not the one that the work began in', async () => {
  const at = world();
  at.commit('guest', 'second');
  const work = at.work();
  const other = world({ make: (host) => { git(host, 'init', '-q'); git(host, 'commit', '-q', '--allow-empty', '-m', 'x'); } });
  await expect(bring(other, work)).rejects.toMatchObject({ code: 'not_found' });
  expect(bangerRefs(other.host)).toEqual([]);
});
