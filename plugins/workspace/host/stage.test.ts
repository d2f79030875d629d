import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeWorld, fingerprint } from './testing/world.ts';
import type { Repo, World } from './testing/world.ts';

let world: World;
beforeAll(() => { world = makeWorld(); });
afterAll(() => world.close());

/** What git says of a checkout; the same on the host and in the guest. */
function told(repo: Repo) {
  return {
    status: repo.git('status', '--porcelain=v2', '--branch', '--untracked-files=no', '-z'),
    staged: repo.git('diff', '--cached', '--binary'),
    unstaged: repo.git('diff', '--binary'),
    index: repo.git('ls-files', '-s', '-t', '-z'),
    head: repo.git('rev-parse', '-q', '--verify', '--symbolic-full-name', 'HEAD'),
  };
}

function expectSound(guest: Repo): void {
  expect(guest.git('fsck', '--full', '--strict', '--no-dangling')).toBe('');
}

describe('a checkout', () => {
  test('has the last commits, the index and the files', async () => {
    const host = world.repo();
    for (let n = 0; n < 15; n += 1) {
      host.write('count', `${n}\n`);
      host.commit(`Commit ${n}`);
    }
    const before = fingerprint(host.dir);
    const { guest, staged } = await world.prepare(host);
    expect(fingerprint(host.dir)).toEqual(before);
    expectSound(guest);
    expect(told(guest)).toEqual(told(host));
    expect(guest.git('log', '--format=%H %s')).toBe(host.git('log', '-10', '--format=%H %s'));
    expect(staged.headBranch).toBe('main');
  });
});
