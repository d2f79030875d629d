import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { git, untouchedState } from '../../../test/support/repo-snapshot.ts';
import { diffArgs } from './diff.ts';
import { dropWork } from './drop.ts';
import { importWork } from './import.ts';
import { keptIn } from './kept.ts';
import { listWork, resolveWork } from './list.ts';
import { bangerRefs, exec, never, run } from './testing/guest.ts';
import type { World } from './testing/guest.ts';
import { useWorlds } from './testing/worlds.ts';

const world = useWorlds();
let at: World;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-01-01T00:00:00Z') });
  at = world();
});
afterEach(() => void vi.useRealTimers());
const bring = async (operation: string, vm = 'devbox') => {
  const made = await importWork(exec, await at.repo(), at.work(operation, { vm }), { signal: never });
  vi.setSystemTime(Date.now() + 60_000);
  return made;
};

test('lists kept work, newest first, with what it holds', async () => {
  at.put('guest', 'b', 'changed\n');
  at.commit('guest', 'second');
  await bring('op-zzzz');
  at.put('guest', 'c', 'new\n');
  await bring('op-aaaa');
  await bring('op-aabb', 'other');
  expect((await listWork(exec, await at.repo(), 'devbox')).map(({ vm, operation, createdAt, commits, changedFiles }) => ({ vm, operation, createdAt, commits, changedFiles }))).toEqual([
    { vm: 'devbox', operation: 'op-aaaa', createdAt: '2026-01-01T00:01:00.000Z', commits: 1, changedFiles: 2 },
    { vm: 'devbox', operation: 'op-zzzz', createdAt: '2026-01-01T00:00:00.000Z', commits: 1, changedFiles: 1 },
  ]);
  const all = await listWork(exec, await at.repo());
  expect(all.map(({ operation }) => operation)).toEqual(['op-aabb', 'op-aaaa', 'op-zzzz']);
  expect(all[0]!.refs.worktree).toBe('refs/banger/other/op-aabb/worktree');
  expect(all[0]!.ids.worktree).toBe(git(at.host, 'rev-parse', all[0]!.refs.worktree));
});

test('lists nothing where nothing is, and passes over refs that no import made', async () => {
  expect(await listWork(exec, await at.repo())).toEqual([]);
  for (const name of ['x', 'devbox/x', 'devbox/op-a/worktree', 'devbox/op-a/base', 'devbox/op-b/other', 'devbox/op-c/base/more']) git(at.host, 'update-ref', `refs/banger/${name}`, 'HEAD');
  expect(await listWork(exec, await at.repo())).toEqual([]);
});

test('finds one by name, by its beginning, or the newest', async () => {
  await bring('op-aaaa');
  await bring('op-aabb');
  const repo = await at.repo();
  expect((await resolveWork(exec, repo, 'devbox')).operation).toBe('op-aabb');
  expect((await resolveWork(exec, repo, 'devbox', 'op-aaaa')).operation).toBe('op-aaaa');
  expect((await resolveWork(exec, repo, 'devbox', 'op-aab')).operation).toBe('op-aabb');
  await expect(resolveWork(exec, repo, 'devbox', 'op-a')).rejects.toMatchObject({ code: 'ambiguous_ref' });
  await expect(resolveWork(exec, repo, 'devbox', 'op-x')).rejects.toMatchObject({ code: 'not_found' });
  await expect(resolveWork(exec, repo, 'devbox', '')).rejects.toMatchObject({ code: 'not_found' });
  const hint = 'banger vm workspace list shows there what it keeps; banger vm workspace pull nobody brings work back to where its workspace came from';
  await expect(resolveWork(exec, repo, 'nobody')).rejects.toMatchObject({ code: 'not_found', hint });
  await expect(resolveWork(exec, repo, '../heads')).rejects.toMatchObject({ code: 'bad_request' });
});

test('drops one operation, or all of a VM, and nothing else', async () => {
  for (const operation of ['op-aaaa', 'op-aabb', 'op-cccc']) await bring(operation);
  await bring('op-dddd', 'other');
  const state = untouchedState(at.host);
  const repo = await at.repo();
  await expect(dropWork(exec, repo, { vm: 'devbox', operation: 'op-x' })).rejects.toMatchObject({ code: 'not_found' });
  await expect(dropWork(exec, repo, { vm: 'devbox', operation: 'op-a' })).rejects.toMatchObject({ code: 'ambiguous_ref' });
  await expect(dropWork(exec, repo, { vm: 'nobody', all: true })).rejects.toMatchObject({ code: 'not_found' });
  expect(bangerRefs(at.host).length).toBe(16);
  expect(await dropWork(exec, repo, { vm: 'devbox', operation: 'op-aaaa' })).toEqual(['op-aaaa']);
  git(at.host, 'pack-refs', '--all');
  expect(await dropWork(exec, repo, { vm: 'devbox', all: true })).toEqual(['op-aabb', 'op-cccc']);
  expect(bangerRefs(at.host).map((name) => name.split('/')[3])).toEqual(Array.from({ length: 4 }, () => 'op-dddd'));
  expect(untouchedState(at.host)).toEqual(state);
});

test('drops what a killed import left of its refs', async () => {
  const { refs } = await bring('op-aaaa');
  git(at.host, 'update-ref', '-d', refs.worktree);
  expect(await dropWork(exec, await at.repo(), { vm: 'devbox', operation: 'op-aaaa' })).toEqual(['op-aaaa']);
  expect(bangerRefs(at.host)).toEqual([]);
});

test('shows what differs between what went in and what came out, without a program of the configuration', async () => {
  writeFileSync(join(at.host, '.git/info/attributes'), '* diff=evil\n');
  for (const [key, value] of [['diff.evil.textconv', 'false'], ['diff.evil.command', 'false'], ['diff.external', 'false']] as const) git(at.host, 'config', key, value);
  at.put('host', 'a', 'dirty when it went in\n');
  at.put('guest', 'b', 'changed\n');
  await bring('op-aaaa');
  const work = await resolveWork(exec, await at.repo(), 'devbox');
  expect(run(at.host, diffArgs(work))).toContain('-b\n+changed\n');
  expect(run(at.host, diffArgs(work, { nameOnly: true }))).toBe('b\n');
  expect(run(at.host, diffArgs(work, { stat: true }))).toMatch(/^ b \| 2 \+-\n 1 file changed/);
});

test('tells what is kept: commits, files at their paths, indexes', async () => {
  const first = git(at.guest, 'rev-parse', 'HEAD');
  at.put('guest', 'b', 'committed\n');
  const second = at.commit('guest', 'second');
  at.put('guest', 'sp ace\n', 'untracked\n');
  const { indexTree } = at.work('op-x');
  await bring('op-aaaa');
  const blob = (content: string): string => run(at.guest, ['hash-object', '-w', '--stdin'], { input: content }).trim();
  const third = at.commit('guest', 'third');
  const repo = await at.repo();
  const kept = await keptIn(exec, repo, 'devbox');
  expect(await Promise.all([first, second, third, 'HEAD', '--all', blob('committed\n')].map((id) => kept.head(id)))).toEqual([true, true, false, false, false, false]);
  expect(await Promise.all([
    kept.path('b', blob('committed\n')), kept.path('sp ace\n', blob('untracked\n')), kept.path('a', blob('one\ntwo\nthree\n')),
    kept.path('a', blob('committed\n')), kept.path('b', blob('other\n')), kept.path('b', 'x'), kept.path('d', git(at.guest, 'rev-parse', 'HEAD:d')),
  ])).toEqual([true, true, true, false, false, false, false]);
  expect(await Promise.all([kept.index(indexTree!), kept.index(git(at.guest, 'rev-parse', 'HEAD^{tree}'))])).toEqual([true, false]);
  const nobody = await keptIn(exec, repo, 'other');
  expect([await nobody.head(first), await nobody.head(second), await nobody.path('b', blob('committed\n')), await nobody.index(indexTree!)]).toEqual([true, false, false, false]);
});

test('takes a file of any kept operation, also an older one', async () => {
  at.put('guest', 'b', 'older\n');
  await bring('op-aaaa');
  at.put('guest', 'b', 'newer\n');
  await bring('op-bbbb');
  const kept = await keptIn(exec, await at.repo(), 'devbox');
  const ids = ['older\n', 'newer\n', 'none\n'].map((content) => run(at.guest, ['hash-object', '--stdin'], { input: content }).trim());
  expect(await Promise.all(ids.map((id) => kept.path('b', id)))).toEqual([true, true, false]);
});
