// Rounds of the poll: who is looked at, who is asked, what is kept.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { waitFor } from '../../test/support/wait.ts';
import { makeWorld, ownProcess, sleeper } from './testing/world.ts';

test('a round looks at running VMs and waits for no guest', async () => {
  const world = makeWorld();
  const [one, two, off] = [await world.add('one'), await world.add('two'), await world.add('off')];
  world.stop(off);
  expect(await world.watch.round()).toMatchObject({ running: 2 });
  expect(world.asked.map(({ vm }) => vm.name)).toEqual(['one', 'two']);
  world.asked[0]!.answer();
  await waitFor('the answer', () => world.watch.known(one.id)?.problem === undefined);
  // The second one has not answered: it is not asked again.
  await world.watch.round();
  expect(world.asked.map(({ vm }) => vm.name)).toEqual(['one', 'two', 'one']);
  expect(world.watch.known(two.id)).toMatchObject({ problem: 'its guest has not been asked yet', figures: { host: { threads: expect.any(Number) as number } } });
});

test('a paused VM is not asked', async () => {
  const world = makeWorld();
  const vm = await world.add('paused');
  world.vms.pausedIds.add(vm.id);
  expect(await world.watch.round()).toMatchObject({ running: 1 });
  expect(world.asked).toEqual([]);
});

test('another process of the same VM is another run', async () => {
  const world = makeWorld();
  const vmm = sleeper();
  const vm = await world.add('devbox', { process: vmm.identity });
  await world.watch.round();
  const before = world.watch.known(vm.id);
  world.asked[0]!.answer();
  await waitFor('the answer', () => before?.problem === undefined);
  world.stop(vm);
  world.vms.process = () => ownProcess();
  await world.watch.round();
  const after = world.watch.known(vm.id)!;
  expect(after).not.toBe(before);
  expect(after.figures.guest).toBeUndefined();
});

test('a process that is gone without a word is forgotten, with its figures kept', async () => {
  const world = makeWorld();
  const vmm = sleeper();
  const vm = await world.add('devbox', { process: vmm.identity });
  await world.watch.round();
  world.vms.process = () => undefined;
  vmm.kill('SIGKILL');
  await waitFor('the end of the process', async () => (await world.watch.round()).running === 0);
  expect(world.watch.known(vm.id)).toBeUndefined();
  await world.watch.close();
  expect(JSON.parse(readFileSync(join(vm.dir, 'stats.json'), 'utf8'))).toMatchObject({ version: 1, vm: vm.id, host: { threads: expect.any(Number) as number } });
});

test('figures of a running VM reach its directory once a minute', async () => {
  let now = 1e12;
  const world = makeWorld({ times: { now: () => now, monotonicMs: () => now } });
  const vm = await world.add('devbox');
  const savedAt = async (): Promise<number> => {
    await world.watch.close();
    return (JSON.parse(readFileSync(join(vm.dir, 'stats.json'), 'utf8')) as { atMs: number }).atMs;
  };
  now += 60_000;
  await world.watch.round();
  const first = await savedAt();
  expect(first).toBe(now);
  now += 59_000;
  await world.watch.round();
  expect(await savedAt()).toBe(first);
  now += 1000;
  await world.watch.round();
  expect(await savedAt()).toBe(first + 60_000);
});

test('many VMs: other work has its turn in between', async () => {
  const world = makeWorld();
  const process = ownProcess();
  for (let n = 0; n < 400; n += 1) await world.add(`vm${n}`, { process });
  // A slow look, as a loaded host has: the round must not be one long turn.
  world.vms.isPaused = () => {
    for (const end = performance.now() + 0.2; performance.now() < end;);
    return true;
  };
  let turns = 0;
  let isRunning = true;
  const count = (): void => {
    turns += 1;
    if (isRunning) setImmediate(count);
  };
  setImmediate(count);
  expect(await world.watch.round()).toMatchObject({ running: 400 });
  isRunning = false;
  expect(turns).toBeGreaterThan(10);
});
