import { chmodSync, existsSync, lstatSync, mkdirSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { git, untouchedState } from '../../../test/support/repo-snapshot.ts';
import { applyWork } from './apply.ts';
import { importWork } from './import.ts';
import { resolveWork } from './list.ts';
import { exec, fsck, gitFiles, never, run } from './testing/guest.ts';
import type { World } from './testing/guest.ts';
import { useWorlds } from './testing/worlds.ts';

const world = useWorlds();

async function pulled(at: World) {
  await importWork(exec, await at.repo(), at.work(), { signal: never });
  return resolveWork(exec, await at.repo(), 'devbox');
}
async function apply(at: World) {
  const work = await pulled(at);
  return applyWork(exec, await at.repo(), work);
}
/** What it is refused with; the host is as before. */
async function refusal(at: World): Promise<unknown> {
  const work = await pulled(at);
  const [state, files] = [untouchedState(at.host), gitFiles(at.host)];
  const error: unknown = await applyWork(exec, await at.repo(), work).catch((cause: unknown) => cause);
  expect(untouchedState(at.host)).toEqual(state);
  expect(gitFiles(at.host)).toEqual(files);
  expect(error).toBeInstanceOf(Error);
  return error;
}
const read = (at: World, path: string): string => readFileSync(join(at.host, path), 'latin1');
const status = (at: World): string[] => run(at.host, ['status', '--porcelain', '-uall']).split('\n').filter((line) => line !== '');

test('changes, adds and removes files; what it changes is left unstaged', async () => {
  const at = world();
  at.put('guest', 'a', 'one\n2\nthree\n');
  at.put('guest', 'new/x y', 'new\n');
  rmSync(join(at.guest, 'd/e'));
  chmodSync(join(at.guest, 'b'), 0o755);
  symlinkSync('a', join(at.guest, 'link'));
  at.commit('guest', 'second');
  const index = readFileSync(join(at.host, '.git/index'));
  expect(await apply(at)).toEqual({ applied: 5, added: 2, deleted: 1, conflicts: [], notices: [] });
  expect(readFileSync(join(at.host, '.git/index')).equals(index)).toBe(true);
  expect(status(at)).toEqual([' M a', ' M b', ' D d/e', '?? link', '?? "new/x y"']);
  expect([read(at, 'a'), read(at, 'new/x y'), readlinkSync(join(at.host, 'link')), statSync(join(at.host, 'b')).mode & 0o111]).toEqual(['one\n2\nthree\n', 'new\n', 'a', 0o111]);
  expect(existsSync(join(at.host, 'd'))).toBe(false);
});

test('leaves nothing in the repository when there is no conflict', async () => {
  const at = world();
  at.put('host', 'b', 'dirty\n');
  at.put('guest', 'a', 'changed\n');
  const work = await pulled(at);
  const files = gitFiles(at.host);
  await applyWork(exec, await at.repo(), work);
  expect(gitFiles(at.host)).toEqual(files);
});

test('merges with what the host has changed meanwhile, committed, staged or neither', async () => {
  const at = world();
  at.put('guest', 'a', 'one\ntwo\nthree\nguest\n');
  at.put('host', 'a', 'host\none\ntwo\nthree\n');
  at.put('host', 'b', 'staged\n');
  git(at.host, 'add', 'b');
  at.put('host', 'b', 'not staged\n');
  git(at.host, 'commit', '-q', '-m', 'meanwhile', '--allow-empty', '--only', '--', 'd/e');
  expect(await apply(at)).toMatchObject({ applied: 1, conflicts: [] });
  expect([read(at, 'a'), read(at, 'b'), git(at.host, 'show', ':b')]).toEqual(['host\none\ntwo\nthree\nguest\n', 'not staged\n', 'staged']);
  expect(status(at)).toEqual([' M a', 'MM b']);
});

test('what was dirty when it went in is no change of the guest', async () => {
  const at = world({ make: (host) => {
    git(host, 'init', '-q');
    writeFileSync(join(host, 'a'), '1\n2\n3\n4\n');
    git(host, 'add', 'a');
    git(host, 'commit', '-q', '-m', 'first');
    writeFileSync(join(host, 'a'), '1\n2 dirty\n3\n4\n');
  } });
  at.put('host', 'a', '1\n2\n3\n4\n');
  at.put('guest', 'a', '1\n2 dirty\n3\n4 guest\n');
  // The host has taken back what went in, the guest has left it alone.
  expect(await apply(at)).toMatchObject({ applied: 1, conflicts: [] });
  expect(read(at, 'a')).toBe('1\n2\n3\n4 guest\n');
});

test('leaves conflicts as git does: markers in the file, stages in the index', async () => {
  const at = world();
  at.put('host', 'a', 'one\nhost\nthree\n');
  at.put('guest', 'a', 'one\nguest\nthree\n');
  at.put('guest', 'd/e', 'changed\n');
  rmSync(join(at.host, 'd/e'));
  at.put('host', 'b', 'staged\n');
  git(at.host, 'add', 'b');
  expect(await apply(at)).toMatchObject({ conflicts: ['a', 'd/e'] });
  expect(read(at, 'a')).toBe('one\n<<<<<<< HEAD\nhost\n=======\nguest\n>>>>>>> worktree/devbox\nthree\n');
  expect(status(at)).toEqual(['UU a', 'M  b', 'DU d/e']);
  expect([git(at.host, 'show', ':1:a'), git(at.host, 'show', ':2:a'), git(at.host, 'show', ':3:a')]).toEqual(['one\ntwo\nthree', 'one\nhost\nthree', 'one\nguest\nthree']);
  fsck(at.host);
  git(at.host, 'checkout', '--ours', 'a');
  expect(read(at, 'a')).toBe('one\nhost\nthree\n');
  expect(await refusal(at).catch((error: unknown) => error)).toMatchObject({ code: 'workspace.in_progress' });
});

test('done twice, the second time changes nothing', async () => {
  const at = world();
  at.put('guest', 'a', 'changed\n');
  at.put('guest', 'new', 'new\n');
  rmSync(join(at.guest, 'b'));
  await apply(at);
  const state = untouchedState(at.host);
  expect(await applyWork(exec, await at.repo(), await resolveWork(exec, await at.repo(), 'devbox'))).toEqual({ applied: 0, added: 0, deleted: 0, conflicts: [], notices: [] });
  expect(untouchedState(at.host)).toEqual(state);
});

test('ended at any step, it can be done again', async () => {
  const at = world();
  at.put('guest', 'a', 'one\ntwo\nthree\nguest\n');
  at.put('guest', 'new', 'new\n');
  rmSync(join(at.guest, 'b'));
  const work = await pulled(at);
  const repo = await at.repo();
  const outcomes: boolean[] = [];
  for (let step = 0; outcomes.at(-1) !== true; step += 1) {
    at.put('host', 'a', 'host\none\ntwo\nthree\n');
    rmSync(join(at.host, 'new'), { force: true });
    at.put('host', 'b', 'b\n');
    const stop = new AbortController();
    let calls = 0;
    const counting = { run: async (...args: Parameters<typeof exec.run>) => {
      const running = exec.run(...args);
      if (calls++ === step) stop.abort();
      return running;
    } };
    outcomes.push(await applyWork(counting, repo, work, { signal: stop.signal }).then(() => true, () => false));
    const state = [read(at, 'a'), existsSync(join(at.host, 'new')), existsSync(join(at.host, 'b'))];
    expect(state).toEqual(outcomes.at(-1) === true ? ['host\none\ntwo\nthree\nguest\n', true, false] : ['host\none\ntwo\nthree\n', false, true]);
    await applyWork(exec, repo, work);
    expect([read(at, 'a'), read(at, 'new'), existsSync(join(at.host, 'b'))]).toEqual(['host\none\ntwo\nthree\nguest\n', 'new\n', false]);
  }
  expect(outcomes.length).toBeGreaterThan(10);
  expect(gitFiles(at.host).filter((name) => name.includes('tmp_') || name.includes('.lock'))).toEqual([]);
});

test('works on an unborn branch, in a subdirectory, in a linked working tree', async () => {
  const unborn = world({ make: (host) => { git(host, 'init', '-q'); } });
  unborn.put('guest', 'x', 'x\n');
  expect(await apply(unborn)).toMatchObject({ applied: 1, added: 1 });
  expect(status(unborn)).toEqual(['?? x']);
  const at = world();
  at.put('guest', 'b', 'changed\n');
  const work = await pulled(at);
  const linked = join(at.dir, 'linked');
  git(at.host, 'worktree', 'add', '-q', '-b', 'side', linked);
  const { openRepository } = await import('../host/repository.ts');
  await applyWork(exec, await openRepository(exec, join(linked, 'd')), work);
  expect([readFileSync(join(linked, 'b'), 'utf8'), read(at, 'b')]).toEqual(['changed\n', 'b\n']);
});

describe('what is in the way', () => {
  test('an untracked or an ignored file with other content is never overwritten', async () => {
    const at = world();
    for (const name of ['mine', 'x.log', 'n\nl']) {
      at.put('guest', name, 'guest\n');
      at.put('host', name, 'host\n');
    }
    git(at.guest, 'add', '-f', 'x.log');
    at.put('guest', 'a', 'changed too\n');
    expect(await refusal(at)).toMatchObject({ code: 'workspace.would_overwrite', detail: { count: 3, paths: [String.raw`mine`, String.raw`n\x0al`, 'x.log'] } });
  });

  test('a file that is the same already is no hindrance', async () => {
    const at = world();
    for (const where of ['host', 'guest'] as const) at.put(where, 'deep/same', 'same\n');
    at.put('guest', 'other', 'x\n');
    expect(await apply(at)).toMatchObject({ applied: 1, added: 1 });
    expect(read(at, 'deep/same')).toBe('same\n');
  });

  test('a file where a directory has to be, and the other way', async () => {
    const at = world();
    at.put('guest', 'x/y', 'x\n');
    at.put('host', 'x', 'mine\n');
    expect(await refusal(at)).toMatchObject({ code: 'workspace.would_overwrite', detail: { paths: ['x'] } });
    const other = world();
    other.put('guest', 'x', 'x\n');
    other.put('host', 'x/y/z', 'mine\n');
    expect(await refusal(other)).toMatchObject({ code: 'workspace.would_overwrite', detail: { paths: ['x/y/z'] } });
  });

  test('a tracked directory becomes a file, unless something of the host is in it', async () => {
    const at = world();
    rmSync(join(at.guest, 'd'), { recursive: true });
    at.put('guest', 'd', 'a file now\n');
    at.put('host', 'd/x.log', 'ignored\n');
    expect(await refusal(at)).toMatchObject({ code: 'workspace.would_overwrite', detail: { paths: ['d/x.log'] } });
    rmSync(join(at.host, 'd/x.log'));
    mkdirSync(join(at.host, 'd/empty/er'), { recursive: true });
    await applyWork(exec, await at.repo(), await resolveWork(exec, await at.repo(), 'devbox'));
    expect(read(at, 'd')).toBe('a file now\n');
  });

  test('nothing is written through a link of the host', async () => {
    const at = world();
    const outside = join(at.dir, 'outside');
    mkdirSync(outside);
    symlinkSync(outside, join(at.host, 'x'));
    at.put('guest', 'x/y', 'x\n');
    expect(await refusal(at)).toMatchObject({ code: 'workspace.would_overwrite', detail: { paths: ['x'] } });
    const other = world();
    rmSync(join(other.host, 'd'), { recursive: true });
    mkdirSync(join(other.dir, 'outside'));
    symlinkSync(join(other.dir, 'outside'), join(other.host, 'd'));
    other.put('guest', 'd/e', 'changed\n');
    other.put('guest', 'd/f', 'new\n');
    expect(await refusal(other)).toMatchObject({ code: 'workspace.would_overwrite', detail: { paths: ['d'] } });
    expect([existsSync(join(outside, 'y')), existsSync(join(other.dir, 'outside/e'))]).toEqual([false, false]);
  });

  test('a link of the guest is made as a link, and nothing follows it', async () => {
    const at = world();
    const outside = join(at.dir, 'outside');
    mkdirSync(outside);
    rmSync(join(at.guest, 'd'), { recursive: true });
    symlinkSync(outside, join(at.guest, 'd'));
    symlinkSync('.git/hooks', join(at.guest, 'h'));
    await apply(at);
    expect([readlinkSync(join(at.host, 'd')), lstatSync(join(at.host, 'h')).isSymbolicLink()]).toEqual([outside, true]);
    // The next work has a directory there: the link makes way for it, what it leads to stays.
    rmSync(join(at.guest, 'd'));
    at.put('guest', 'd/e', 'again\n');
    git(at.host, 'add', '-A');
    await importWork(exec, await at.repo(), at.work('op-next'), { signal: never });
    const next = await applyWork(exec, await at.repo(), await resolveWork(exec, await at.repo(), 'devbox', 'op-next'));
    expect(next.conflicts).toEqual(['d/e', 'd~HEAD']);
    expect([readlinkSync(join(at.host, 'd~HEAD')), read(at, 'd/e'), existsSync(join(outside, 'e'))]).toEqual([outside, 'again\n', false]);
  });

  test('a change that git was told not to see is seen', async () => {
    const at = world();
    git(at.host, 'update-index', '--assume-unchanged', 'b');
    at.put('host', 'b', 'hidden change\n');
    at.put('guest', 'b', 'guest\n');
    expect(await refusal(at)).toMatchObject({ code: 'workspace.would_overwrite', detail: { paths: ['b'] } });
  });

  test('another git that has the index', async () => {
    const at = world();
    at.put('guest', 'b', 'changed\n');
    writeFileSync(join(at.host, '.git/index.lock'), '');
    expect(await refusal(at)).toMatchObject({ code: 'busy' });
  });
});

test('runs the filters that the attributes of the host choose, and no hook', async () => {
  const at = world();
  git(at.host, 'config', 'filter.up.smudge', 'tr a-z A-Z');
  git(at.host, 'config', 'filter.up.clean', 'tr A-Z a-z');
  for (const hook of ['post-checkout', 'post-index-change', 'pre-commit', 'reference-transaction']) {
    writeFileSync(join(at.host, '.git/hooks', hook), `#!/bin/sh\ntouch ${at.dir}/ran\n`, { mode: 0o755 });
  }
  writeFileSync(join(at.host, '.git/info/attributes'), 'b filter=up\n');
  at.put('guest', 'b', 'changed\n');
  await apply(at);
  expect(read(at, 'b')).toBe('CHANGED\n');
  expect(existsSync(join(at.dir, 'ran'))).toBe(false);
});

test('merges as the attributes and settings of the host say', async () => {
  const at = world();
  writeFileSync(join(at.host, '.git/info/attributes'), 'b merge=union\n');
  git(at.host, 'config', 'merge.conflictStyle', 'diff3');
  for (const where of ['host', 'guest'] as const) {
    at.put(where, 'a', `one\n${where}\nthree\n`);
    at.put(where, 'b', `b\n${where}\n`);
  }
  expect(await apply(at)).toMatchObject({ conflicts: ['a'] });
  expect(read(at, 'b')).toBe('b\nhost\nguest\n');
  expect(read(at, 'a')).toContain('\n||||||| ');
});

test('keeps to lines as the host has them', async () => {
  const at = world();
  git(at.host, 'config', 'core.autocrlf', 'true');
  at.put('guest', 'b', 'changed\n');
  at.put('guest', 'new', 'new\n');
  await apply(at);
  expect([read(at, 'b'), read(at, 'new')]).toEqual(['changed\r\n', 'new\r\n']);
});

test('writes a file that a sparse checkout leaves out, where the work has changed it', async () => {
  const at = world();
  git(at.host, 'sparse-checkout', 'set', '--no-cone', '/*', '!/d/');
  expect(existsSync(join(at.host, 'd/e'))).toBe(false);
  at.put('guest', 'd/e', 'changed\n');
  at.put('guest', 'd/f', 'new\n');
  expect(await apply(at)).toMatchObject({ applied: 2 });
  expect([read(at, 'd/e'), read(at, 'd/f')]).toEqual(['changed\n', 'new\n']);
});

test('leaves submodules as they are, and says so', async () => {
  const at = world({ make: (host) => {
    git(host, 'init', '-q');
    const id = 'ab'.repeat(20);
    run(host, ['update-index', '--add', '--cacheinfo', `160000,${id},sub`]);
    writeFileSync(join(host, 'a'), 'a\n');
    git(host, 'add', 'a');
    git(host, 'commit', '-q', '-m', 'first');
    mkdirSync(join(host, 'sub'));
  } });
  const work = at.work();
  const index = join(at.guest, '.git/evil-index');
  const env = { GIT_INDEX_FILE: index };
  const other = 'cd'.repeat(20);
  run(at.guest, ['update-index', '--add', '--cacheinfo', `160000,${other},sub`, '--cacheinfo', `160000,${other},more`], { env });
  at.put('guest', 'a', 'changed\n');
  run(at.guest, ['add', 'a'], { env });
  const worktreeTree = run(at.guest, ['write-tree'], { env }).trim();
  const { writePack } = await import('./testing/guest.ts');
  writePack(at.guest, [worktreeTree, work.indexTree!, `^${work.base.commit!}`], work.packFile);
  await importWork(exec, await at.repo(), { ...work, worktreeTree }, { signal: never });
  const done = await applyWork(exec, await at.repo(), await resolveWork(exec, await at.repo(), 'devbox'));
  expect(done).toMatchObject({ applied: 1, added: 0 });
  expect(done.notices.map((notice) => notice.split(' ').slice(0, 3).join(' '))).toEqual(['the submodule more', 'the submodule sub']);
  expect([status(at), existsSync(join(at.host, 'more'))]).toEqual([[' M a'], false]);
});
