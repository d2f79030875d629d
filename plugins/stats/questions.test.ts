// One question a VM, bounded waits, and frozen guests that hold up nobody.
import { expect, test } from 'vitest';
import { operationFailed, timedOut, unsupported, wrongState } from '../../core/plugin-api.ts';
import { waitFor } from '../../test/support/wait.ts';
import { figures, makeWorld } from './testing/world.ts';
import type { World } from './testing/world.ts';
import type { WatchedVm } from './watched-vm.ts';

const watchedOf = (world: World, id: string): WatchedVm => world.watch.known(id)!;
const asked = async (world: World, count: number): Promise<void> => waitFor(`question ${count}`, () => world.asked.length >= count).then(() => undefined);

test('an answer becomes figures, and what failed before is forgotten', async () => {
  const world = makeWorld();
  const watched = watchedOf(world, (await world.add('devbox')).id);
  watched.failed('before');
  const done = world.watch.questions.ask(watched);
  await asked(world, 1);
  world.asked[0]!.answer();
  await done;
  expect(watched).toMatchObject({ problem: undefined, failures: 0, figures: { guest: { uptimeSeconds: 101 }, network: { rxBytes: 1000 } } });
});

test('many who ask at once share one question', async () => {
  const world = makeWorld();
  const watched = watchedOf(world, (await world.add('devbox')).id);
  world.watch.questions.enqueue(watched);
  const all = [1, 2, 3].map(() => world.watch.questions.ask(watched));
  world.watch.questions.enqueue(watched);
  await asked(world, 1);
  world.asked[0]!.answer();
  await Promise.all(all);
  expect(world.asked).toHaveLength(1);
});

test('a guest that does not end a question is asked no other, until it does', async () => {
  const world = makeWorld({ limitMs: 30 });
  const watched = watchedOf(world, (await world.add('frozen')).id);
  const first = world.watch.questions.ask(watched);
  await asked(world, 1);
  world.asked[0]!.fail(timedOut('the guest', 30));
  await first;
  expect(watched.problem).toBe('its guest agent did not answer within 0 s');
  for (let n = 0; n < 5; n += 1) {
    world.watch.questions.enqueue(watched);
    await world.watch.questions.ask(watched);
  }
  expect(world.asked).toHaveLength(1);
  expect(watched.failures).toBeGreaterThan(4);
  world.asked[0]!.over();
  await waitFor('the end of the question', () => world.watch.questions.openCount === 0);
  world.watch.questions.enqueue(watched);
  await asked(world, 2);
  world.asked[1]!.answer();
  await waitFor('the figures', () => watched.problem === undefined);
});

test('who waits when a frozen guest comes back gets an answer', async () => {
  const world = makeWorld();
  const watched = watchedOf(world, (await world.add('frozen')).id);
  const first = world.watch.questions.ask(watched);
  await asked(world, 1);
  world.asked[0]!.fail(timedOut('the guest', 2000));
  await first;
  const second = world.watch.questions.ask(watched);
  world.asked[0]!.over();
  await asked(world, 2);
  world.asked[1]!.answer(figures({ uptimeSeconds: 7 }));
  await second;
  expect(watched.figures.guest?.uptimeSeconds).toBe(7);
});

test('a hundred frozen guests leave room for one that is well', async () => {
  const world = makeWorld();
  const vms = await Promise.all(Array.from({ length: 100 }, (_, n) => world.add(`frozen${n}`)));
  for (const vm of vms) watchedOf(world, vm.id).failed('before');
  for (const vm of vms) world.watch.questions.enqueue(watchedOf(world, vm.id));
  const well = await world.add('well');
  world.watch.questions.enqueue(watchedOf(world, well.id));
  await waitFor('the question to the guest that is well', () => world.asked.some(({ vm }) => vm.id === well.id));
  expect(world.asked.length).toBeLessThan(40);
});

test('a client is told within the limit though there is no room', async () => {
  const world = makeWorld({ limitMs: 50 });
  const vms = await Promise.all(Array.from({ length: 40 }, (_, n) => world.add(`frozen${n}`)));
  await Promise.all(vms.map((vm) => world.watch.questions.ask(watchedOf(world, vm.id))));
  expect(vms.filter((vm) => watchedOf(world, vm.id).problem === undefined)).toEqual([]);
});

test('a client that asks a hundred frozen guests takes no time of one that asks a guest that is well', async () => {
  const world = makeWorld({ limitMs: 1000 });
  const vms = await Promise.all(Array.from({ length: 100 }, (_, n) => world.add(`frozen${n}`)));
  for (const vm of vms) watchedOf(world, vm.id).failed('before');
  const all = vms.map((vm) => world.watch.questions.ask(watchedOf(world, vm.id)));
  const well = await world.add('well');
  const done = world.watch.questions.ask(watchedOf(world, well.id));
  (await waitFor('the question to the guest that is well', () => world.asked.find(({ vm }) => vm.id === well.id))).answer();
  expect(await done).toBe(true);
  expect((await Promise.all(all)).filter((isAsked) => isAsked)).toHaveLength(16);
});

test('a guest that was not asked, as others took the time, is neither silent nor said to have answered', async () => {
  const world = makeWorld({ limitMs: 300 });
  const well = watchedOf(world, (await world.add('well')).id);
  world.watch.questions.enqueue(well);
  await asked(world, 1);
  world.asked[0]!.answer();
  await waitFor('the answer', () => well.problem === undefined);
  // They were well a moment ago, too.
  const vms = await Promise.all(Array.from({ length: 64 }, (_, n) => world.add(`freezing${n}`)));
  const all = vms.map((vm) => world.watch.questions.ask(watchedOf(world, vm.id)));
  expect(await world.watch.questions.ask(well)).toBe(false);
  expect([well.problem, well.failures]).toEqual([undefined, 0]);
  await Promise.all(all);
});

test.each([
  [unsupported('The guest agent of devbox is too old for stat'), 'its guest agent is too old to tell: restart the VM'],
  [wrongState('devbox', 'paused', 'running'), 'it was paused when it was asked'],
  [timedOut('the guest of devbox to begin the command', 15_000), 'its guest agent did not answer within 60 s'],
  [operationFailed('The guest said \u001b[2J\u202e things'), 'The guest said  [2J  things'],
  [new Error('x'.repeat(1000)), 'x'.repeat(200)],
])('%s becomes one sentence', async (error, problem) => {
  const world = makeWorld();
  const watched = watchedOf(world, (await world.add('devbox')).id);
  const done = world.watch.questions.ask(watched);
  await asked(world, 1);
  world.asked[0]!.over();
  world.asked[0]!.fail(error);
  await done;
  expect(watched.problem).toBe(problem);
});

test('the end of a VM ends its question', async () => {
  const world = makeWorld();
  const vm = await world.add('devbox');
  world.watch.questions.enqueue(watchedOf(world, vm.id));
  await asked(world, 1);
  world.stop(vm);
  expect(world.asked[0]!.options.signal.aborted).toBe(true);
  expect(world.watch.questions.openCount).toBe(0);
});
