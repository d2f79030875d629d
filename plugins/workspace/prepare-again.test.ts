// Prepares with this host as the guest: what a prepare that was cut short leaves for the next one, what --clean takes, and what comes back of odd places.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { gitEnvironment } from '../../test/support/repo-script.ts';
import { eachHere } from './testing/each-here.ts';
import type { Here } from './testing/here.ts';

let dir: string;
let here: Here;
let host: string;
let guest: string;
eachHere((made, its) => {
  [here, dir] = [made, its];
  [host, guest] = [join(here.dir, 'project'), join(here.guestDir, 'project')];
  git(dir, 'init', '-q', '-b', 'main', host);
  for (const name of ['a', 'b']) writeFileSync(join(host, name), `${name}\n`);
  commit(host);
});

const git = (at: string, ...args: readonly string[]): string =>
  execFileSync('git', ['-C', at, ...args], { env: gitEnvironment(), encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] }).trimEnd();
function commit(at: string): string {
  git(at, 'add', '-A');
  git(at, 'commit', '-qm', 'A commit', '--allow-empty');
  return git(at, 'rev-parse', 'HEAD');
}
const prepare = (how: Partial<Parameters<Here['prepare']>[0]> = {}): Promise<string | undefined> =>
  here.prepare({ path: host, guestPath: guest, mode: 'shallow', includeUntracked: false, force: false, ...how });
async function cutPrepare(how: Parameters<typeof prepare>[0] = {}): Promise<void> {
  here.cutNextSend();
  await expect(prepare(how)).rejects.toThrow('cut');
}
const state = (): readonly string[] => [git(guest, 'rev-parse', 'HEAD'), git(guest, 'status', '--porcelain'), readFileSync(join(guest, 'a'), 'utf8')];

describe('a prepare that was cut short', () => {
  test.each([{ retry: { clean: true } }, { retry: {} }])('after it had cleaned up is repeated ($retry)', async ({ retry }) => {
    expect(await prepare()).toBeUndefined();
    await cutPrepare({ clean: true });
    expect(await prepare(retry)).toBeUndefined();
    expect(state()).toEqual([git(host, 'rev-parse', 'HEAD'), '', 'a\n']);
    git(guest, 'fsck', '--strict');
  });

  test('leaves nothing that another repository or worktree of the host could build on', async () => {
    const first = git(host, 'rev-parse', 'HEAD');
    writeFileSync(join(host, 'a'), 'newer\n');
    const newer = commit(host);
    expect(await prepare()).toBeUndefined();
    const worktree = join(here.dir, 'worktree');
    git(host, 'worktree', 'add', '-q', '--detach', worktree, first);
    await cutPrepare({ path: worktree, force: true, clean: true });
    expect(await prepare({ force: true })).toBeUndefined();
    expect(state()).toEqual([newer, '', 'newer\n']);
    git(guest, 'fsck', '--strict');
  });

  test('is repeated also when there are no files to send', async () => {
    // As far as a send may have come: HEAD, and no index yet.
    await cutPrepare({ mode: 'metadata' });
    git(dir, 'init', '-q', guest);
    expect(await prepare({ mode: 'metadata' })).toBeUndefined();
    expect(git(guest, 'rev-parse', 'HEAD')).toBe(git(host, 'rev-parse', 'HEAD'));
  });
});

describe('--clean', () => {
  beforeEach(async () => {
    expect(await prepare()).toBeUndefined();
  });
  const refused = async (name: string): Promise<void> => {
    expect(await prepare({ clean: true })).toContain(name);
    expect(existsSync(join(guest, 'a'))).toBe(true);
  };
  const detachedCommit = (at: string): string => {
    git(at, 'checkout', '-q', '--detach');
    return commit(at);
  };

  test('takes no commit that only a tag names', async () => {
    detachedCommit(guest);
    git(guest, 'tag', '-am', 'A tag', 'mine');
    git(guest, 'checkout', '-q', 'main');
    await refused('.git/refs/tags/mine');
  });

  test('takes no commit that an earlier prepare promised to leave', async () => {
    const made = commit(guest);
    expect(await prepare({ force: true })).toBeUndefined();
    expect(git(guest, 'for-each-ref', '--format=%(objectname)', 'refs/banger')).toBe(made);
    await refused('.git/refs/banger/before/');
    await here.pull();
    await refused('.git/refs/banger/before/');
    expect(await prepare({ clean: true, force: true })).toBeUndefined();
    expect(git(guest, 'for-each-ref', 'refs/banger')).toBe('');
  });

  test("takes no commit of another worktree's", async () => {
    const other = join(here.guestDir, 'other');
    git(guest, 'worktree', 'add', '-q', '--detach', other);
    detachedCommit(other);
    await refused('.git/refs/worktrees/other');
  });

  test('takes tags and branches that came from the host', async () => {
    git(host, 'tag', '-am', 'A tag', 'theirs');
    expect(await prepare({ mode: 'full_copy' })).toBeUndefined();
    expect(git(guest, 'tag')).toBe('theirs');
    expect(await prepare({ mode: 'full_copy', clean: true })).toBeUndefined();
  });
});

test.each([{ packed: false }, { packed: true }])('a branch without commits on the host has none in the guest once its work is kept ($packed)', async ({ packed }) => {
  git(host, 'checkout', '-q', '--orphan', 'fresh');
  expect(await prepare()).toBeUndefined();
  git(guest, 'commit', '-q', '--allow-empty', '-m', 'Not a commit of the host');
  const made = git(guest, 'rev-parse', 'HEAD');
  if (packed) git(guest, 'pack-refs', '--all');
  writeFileSync(join(host, 'a'), 'edited\n');
  expect(await prepare()).toContain('.git/HEAD');
  await here.pull();
  expect(await prepare()).toBeUndefined();
  expect([git(guest, 'for-each-ref', '--format=%(objectname)', 'refs/heads', 'refs/banger'), git(guest, 'symbolic-ref', 'HEAD')]).toEqual([made, 'refs/heads/fresh']);
  expect(git(guest, 'status', '--porcelain')).toBe(git(host, 'status', '--porcelain'));
});

test('an edit that a clock behind the host\'s dates as the file that was sent is seen', async () => {
  writeFileSync(join(host, 'a'), 'A\n');
  const then = new Date(Date.now() - 2000);
  utimesSync(join(host, 'a'), then, then);
  commit(host);
  expect(await prepare()).toBeUndefined();
  writeFileSync(join(guest, 'a'), 'B\n');
  const second = Math.floor(then.getTime() / 1000) + 0.25;
  utimesSync(join(guest, 'a'), second, second);
  const { refs: { worktree } } = await here.pull();
  expect(git(host, 'show', `${worktree}:a`)).toBe('B');
  expect(git(guest, 'status', '--porcelain')).toBe(' M a');
});

test('what the guest told its git to skip is work all the same', async () => {
  expect(await prepare()).toBeUndefined();
  git(guest, 'update-index', '--skip-worktree', 'b');
  writeFileSync(join(guest, 'b'), 'edited\n');
  const { refs: { worktree } } = await here.pull();
  expect(git(host, 'show', `${worktree}:b`)).toBe('edited');
  expect(git(guest, 'ls-files', '-t', 'b')).toBe('S b');
});

test('a sparse checkout of the guest takes nothing away, and what lies outside of it comes along', async () => {
  expect(await prepare()).toBeUndefined();
  git(guest, 'sparse-checkout', 'set', '--no-cone', '/a');
  expect(existsSync(join(guest, 'b'))).toBe(false);
  writeFileSync(join(guest, 'new'), 'outside\n');
  const { refs: { worktree } } = await here.pull();
  expect(git(host, 'ls-tree', '-r', '--name-only', worktree).split('\n')).toEqual(['a', 'b', 'new']);
});
