// Random repositories, random edits on both sides: what is imported is what git says the guest has, and what is applied is what git merge makes.
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { random as seeded } from '../../../native/copy/testing.ts';
import { makeRandomRepo, randomEdits } from '../../../test/support/random-repo.ts';
import { git, snapshot, untouchedState } from '../../../test/support/repo-snapshot.ts';
import type { Snapshot } from '../../../test/support/repo-snapshot.ts';
import { applyWork } from './apply.ts';
import type { Applied } from './apply.ts';
import { importWork } from './import.ts';
import { resolveWork } from './list.ts';
import type { KeptWork } from './list.ts';
import { exec, fsck, makeWorld, never, run } from './testing/guest.ts';
import type { World } from './testing/guest.ts';

beforeEach(() => void vi.stubEnv('GIT_CONFIG_GLOBAL', '/dev/null'));
afterEach(() => void vi.unstubAllEnvs());

/** Every file of the working tree, ignored ones too: path to mode and blob. */
function filesOf(at: World, dir: string): Map<string, string> {
  const env = { GIT_INDEX_FILE: join(at.dir, 'files-index') };
  rmSync(env.GIT_INDEX_FILE, { force: true });
  run(dir, ['add', '-A', '-f'], { env });
  const entries = run(dir, ['ls-files', '-s', '-z'], { env }).split('\0').slice(0, -1);
  return new Map(entries.map((entry) => [entry.slice(entry.indexOf('\t') + 1), entry.slice(0, entry.indexOf('\t') - 2)]));
}

interface Merged { readonly files: Map<string, string>; readonly unmerged: string }

/** What `git merge` makes of the same three trees, in a copy of the host. */
function mergeOf(at: World, work: KeptWork): Merged {
  const dir = join(at.dir, 'expected');
  cpSync(at.host, dir, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
  git(dir, 'add', '-u');
  const commit = (tree: string): string => git(dir, 'commit-tree', '-p', work.ids.base, '-m', 'x', tree);
  git(dir, 'update-ref', '--no-deref', 'HEAD', commit(git(dir, 'write-tree')));
  git(dir, 'update-ref', 'refs/worktree/devbox', commit(`${work.ids.worktree}^{tree}`));
  git(dir, 'reset', '-q', '--hard');
  git(dir, 'clean', '-xffdq');
  // A word that is not HEAD, as a branch would be called, is what the markers get.
  git(dir, 'checkout', '-q', '--detach');
  try {
    git(dir, 'merge', '-q', '--no-commit', '--no-ff', 'worktree/devbox');
  } catch (error) {
    // Conflicts, which are compared; nothing else.
    if ((error as { readonly status?: number }).status !== 1) throw error;
  }
  return { files: filesOf(at, dir), unmerged: git(dir, 'ls-files', '-u', '-z') };
}

async function expectMerged(at: World, before: Snapshot, { expected, applied }: { readonly expected: Merged; readonly applied: Applied }): Promise<void> {
  const untracked = [...before.allFiles].filter(([path]) => !before.trackedFiles.has(path));
  expect([...filesOf(at, at.host)].toSorted()).toEqual([...new Map([...untracked, ...expected.files])].toSorted());
  expect(git(at.host, 'ls-files', '-u', '-z')).toBe(expected.unmerged);
  expect(applied.conflicts.length > 0).toBe(expected.unmerged !== '');
  const index = expected.unmerged === '' ? (await snapshot(at.host)).index : before.index;
  expect(index).toBe(before.index);
  fsck(at.host);
}

/** Something that git does not know of is really in the way. */
function expectRefused(at: World, before: Snapshot, { expected, error, state }: { readonly expected: Merged; readonly error: Error; readonly state: readonly string[] }): void {
  expect(error).toMatchObject({ code: 'workspace.would_overwrite' });
  expect(untouchedState(at.host)).toEqual(state);
  const untracked = [...before.allFiles].filter(([path]) => !before.trackedFiles.has(path));
  const isInWay = ([path, entry]: readonly [string, string]): boolean => [...expected.files].some(([other, wanted]) =>
    (other === path ? entry !== wanted : other.startsWith(`${path}/`) || path.startsWith(`${other}/`)));
  expect(untracked.filter(isInWay)).not.toEqual([]);
}

let merges = 0;
test.each(Array.from({ length: 20 }, (_, n) => n + 1))('seed %i', async (seed) => {
  const random = seeded(1000 + seed);
  const at = makeWorld({ make: (host) => makeRandomRepo(host, seed) });
  try {
    // Untracked files go in when they are asked for.
    if (seed % 3 !== 0) git(at.guest, 'clean', '-xffdq');
    randomEdits(at.guest, random, { stage: true, commit: true });
    randomEdits(at.host, random, { stage: true, commit: true });
    const theirs = await snapshot(at.guest);
    const before = await snapshot(at.host);
    const state = untouchedState(at.host);
    const { refs } = await importWork(exec, await at.repo(), at.work(), { signal: never });
    expect(untouchedState(at.host)).toEqual(state);
    fsck(at.host);
    const treeOf = (name: string | undefined): string => (name === undefined ? '' : git(at.host, 'rev-parse', `${name}^{tree}`));
    expect([treeOf(refs.index), treeOf(refs.worktree), refs.head === undefined ? '' : git(at.host, 'rev-parse', refs.head)]).toEqual([theirs.index, theirs.worktree, theirs.head]);

    const work = await resolveWork(exec, await at.repo(), 'devbox');
    const expected = mergeOf(at, work);
    const applied = await applyWork(exec, await at.repo(), work).catch((error: unknown) => error as Error);
    if (applied instanceof Error) return expectRefused(at, before, { expected, error: applied, state });
    merges += 1;
    await expectMerged(at, before, { expected, applied });
  } finally {
    at.remove();
  }
});

test('most of them could be applied', () => {
  expect(merges).toBeGreaterThan(12);
});
