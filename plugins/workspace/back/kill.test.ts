// kill -9 in the midst of an import: the host's repository is whole, and the same import works afterwards.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { gitEnvironment } from '../../../test/support/repo-script.ts';
import { git, untouchedState } from '../../../test/support/repo-snapshot.ts';
import { importWork, quarantineDir } from './import.ts';
import type { GuestWork } from './import.ts';
import { bangerRefs, exec, fsck, never } from './testing/guest.ts';
import type { World } from './testing/guest.ts';
import { useWorlds } from './testing/worlds.ts';

const world = useWorlds();
let at: World;
beforeEach(() => {
  at = world();
  at.put('guest', 'a', 'changed\n');
  at.commit('guest', 'second');
});

/** Whether it was killed; otherwise it had fewer steps. */
function killAt(work: GuestWork, step: number, when: 'before' | 'during'): boolean {
  const file = join(at.dir, 'work.json');
  writeFileSync(file, JSON.stringify(work));
  const script = join(import.meta.dirname, 'testing/kill-import.ts');
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [script, at.host, file, String(step), when], { env: gitEnvironment(), encoding: 'utf8' });
  if (status === 0 && stdout === 'done\n') return false;
  expect({ signal, stderr }).toMatchObject({ signal: 'SIGKILL' });
  return true;
}

// Every other step each, because a process a step takes its time.
test.each([['before', 0], ['during', 1]] as const)('killed %s its steps', async (when, first) => {
  const state = untouchedState(at.host);
  let kills = 0;
  for (let step: number = first, killed = true; killed; step += 2) {
    const work = at.work(`op-${when}${step}`);
    killed = killAt(work, step, when);
    if (killed) kills += 1;
    fsck(at.host);
    const made = bangerRefs(at.host).filter((name) => name.includes(`/${work.operation}/`)).length;
    expect([0, 4]).toContain(killed ? made : 4);
    const { refs } = await importWork(exec, await at.repo(), work, { signal: never });
    expect(git(at.host, 'rev-parse', `${refs.worktree}^{tree}`)).toBe(work.worktreeTree);
    expect(existsSync(quarantineDir(await at.repo(), work.operation))).toBe(false);
    expect(untouchedState(at.host)).toEqual(state);
  }
  expect(kills).toBeGreaterThan(5);
}, 300_000);

test('an import that was killed between its refs is finished', async () => {
  const work = at.work();
  const first = await importWork(exec, await at.repo(), work, { signal: never });
  const dir = join(at.host, '.git/refs/banger/devbox/op-aaaaaaaa');
  git(at.host, 'update-ref', '-d', first.refs.index!);
  git(at.host, 'update-ref', '-d', first.refs.worktree);
  mkdirSync(dir, { recursive: true });
  for (const name of ['index.lock', 'worktree.lock']) writeFileSync(join(dir, name), 'a'.repeat(20));
  const again = await importWork(exec, await at.repo(), work, { signal: never });
  expect(again).toEqual(first);
  expect(bangerRefs(at.host).length).toBe(4);
  fsck(at.host);
});
