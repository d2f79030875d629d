import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { random } from '../../native/copy/testing.ts';
import { makeRandomRepo, randomEditScript, randomEdits, workingPaths } from './random-repo.ts';
import { git, snapshot, untouchedState } from './repo-snapshot.ts';
import { gitEnvironment } from './repo-script.ts';

const dir = mkdtempSync(join(tmpdir(), 'banger-repos-'));
afterAll(() => {
  rmSync(dir, { recursive: true });
});
const seeds = Array.from({ length: 30 }, (_, n) => n + 1);
const made = (seed: number, name = String(seed)): string => {
  const repo = join(dir, name);
  if (!existsSync(repo)) makeRandomRepo(repo, seed);
  return repo;
};

test('are what git calls sound, whatever the seed', () => {
  for (const seed of seeds) git(made(seed), 'fsck', '--full', '--strict');
});

test('are the same for the same seed, and others for others', async () => {
  const trees = new Set<string>();
  for (const seed of seeds) {
    const [one, two] = [made(seed), made(seed, `${seed} again`)];
    expect(workingPaths(two)).toEqual(workingPaths(one));
    const first = await snapshot(one);
    expect(await snapshot(two)).toEqual(first);
    trees.add(first.worktree);
  }
  expect(trees.size).toBe(seeds.length);
});

test('are of all kinds', async () => {
  const all = await Promise.all(seeds.map(async (seed) => snapshot(made(seed))));
  const some = (what: string, is: (one: (typeof all)[number]) => boolean): void => expect(all.some(is), what).toBe(true);
  some('unborn', (one) => one.head === '');
  some('detached', (one) => one.ref === '');
  some('staged', (one) => one.status.some((entry) => /^1 [AMDT]/.test(entry)));
  some('not staged', (one) => one.status.some((entry) => /^1 .[MDT]/.test(entry)));
  some('both of one file', (one) => one.status.some((entry) => /^1 [AMDT][MDT]/.test(entry)));
  some('intended to be added', (one) => one.status.some((entry) => entry.startsWith('1 .A')));
  some('untracked', (one) => one.untracked.length > 0);
  some('ignored', (one) => git(made(seeds[all.indexOf(one)]!), 'ls-files', '-o', '-i', '--exclude-standard') !== '');
  const entries = seeds.map((seed) => git(made(seed), 'ls-files', '-s', '-z')).join('');
  for (const mode of ['100644', '100755', '120000', 'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391']) expect(entries).toContain(mode);
  for (const bytes of [' ', "'", '"', '\n', '\xff\xfe', '\x81\x82\x84\x88']) expect(entries.split('\0').some((entry) => entry.includes(bytes, entry.indexOf('\t') + 1))).toBe(true);
  expect(seeds.some((seed) => git(made(seed), 'rev-list', '--all', '--min-parents=2') !== ''), 'merged').toBe(true);
  expect(seeds.some((seed) => git(made(seed), 'rev-list', '--all').split('\n').length > 12), 'longer than a shallow checkout').toBe(true);
});

test('a snapshot leaves the repository as it was, objects included', async () => {
  const repo = made(3);
  const before = [untouchedState(repo), git(repo, 'count-objects', '-v')];
  await snapshot(repo);
  expect([untouchedState(repo), git(repo, 'count-objects', '-v')]).toEqual(before);
});

test('edits change something and leave a sound repository; the same by the same seed, as a script too', async () => {
  for (const seed of seeds) {
    const [one, two] = [made(seed), made(seed, `${seed} again`)];
    const before = untouchedState(one);
    const options = { stage: seed % 2 === 0, commit: seed % 3 === 0 };
    const paths = workingPaths(two);
    randomEdits(one, random(seed), options);
    expect(untouchedState(one), `seed ${seed}`).not.toEqual(before);
    git(one, 'fsck', '--full', '--strict');
    execFileSync('sh', ['-s'], { input: randomEditScript(random(seed), two, { ...options, paths }), env: gitEnvironment() });
    expect(await snapshot(two)).toEqual(await snapshot(one));
  }
});
