// Random histories with merges, and a guest that follows the host's HEAD from one commit to another, in both modes.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeWorld } from './testing/world.ts';
import type { Repo, World } from './testing/world.ts';

let world: World;
beforeAll(() => { world = makeWorld(); });
afterAll(() => world.close());

/** Small and repeatable (mulberry32). */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

function randomHistory(below: (limit: number) => number, count: number): Repo {
  const host = world.repo();
  const commits = Array.from({ length: count }, (_, n) => {
    const parents = n === 0 || below(15) === 0 ? [] : [...new Set(Array.from({ length: 1 + below(3) }, () => n - below(Math.min(n, 6))))];
    return [
      `commit refs/heads/b${n}`, `mark :${n + 1}`, `committer Ada <ada@example.org> ${1_700_000_000 + below(1000)} +0000`, 'data 1', 'x',
      ...parents.map((mark, at) => `${at === 0 ? 'from' : 'merge'} :${mark}`),
      `M 100644 inline d${below(3)}/f${below(5)}`, `data ${String(n).length}`, String(n), '',
    ].join('\n');
  });
  host.gitWith({ input: commits.join('') }, 'fast-import', '--quiet');
  return host;
}

const seeds = process.env['BANGER_TEST_SEEDS'] === undefined ? [1, 2, 3] : Array.from({ length: Number(process.env['BANGER_TEST_SEEDS']) }, (_, n) => n + 1);

test.each(seeds)('a guest that follows has every commit whole (seed %i)', async (seed) => {
  const below = random(seed);
  const count = 60;
  const host = randomHistory(below, count);
  let have: Parameters<World['stage']>[1];
  let guest: Repo | undefined;
  for (let step = 0; step < 5; step += 1) {
    host.git('checkout', '-q', '--force', `b${below(count)}`);
    if (below(3) === 0) host.write(`d0/f${below(5)}`, `changed ${step}`);
    if (below(2) === 0) host.git('add', '-A');
    const mode = below(4) === 0 ? 'full_copy' : 'shallow';
    const staged = await world.stage(await world.plan(host, { mode }), have);
    have = staged.have;
    guest = world.land(staged, guest?.dir);
    const where = `seed ${seed}, step ${step}, ${mode}`;
    expect(guest.git('fsck', '--full', '--strict', '--no-dangling'), where).toBe('');
    expect(guest.git('status', '--porcelain=v2', '-uno'), where).toBe(host.git('status', '--porcelain=v2', '-uno'));
    const all = (repo: Repo): string[] => repo.git('rev-list', '--all', '--parents').split('\n').toSorted();
    expect(mode === 'full_copy' ? all(guest) : [], where).toEqual(mode === 'full_copy' ? all(host) : []);
    const commits = guest.git('rev-list', 'HEAD').split('\n');
    expect(commits.length, where).toBeGreaterThanOrEqual(Math.min(10, Number(host.git('rev-list', '--count', '--first-parent', 'HEAD'))));
  }
});
