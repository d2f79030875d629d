// vm.stats, vm.health and vm.ping over scripted guests: what is known, what is missing and why.
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { VmStats } from '../../core/api.ts';
import { timedOut } from '../../core/plugin-api.ts';
import type { Vm, VmUse } from '../../core/plugin-api.ts';
import { makeCall } from '../../test/support/vm-fixture.ts';
import { nullLog } from '../../core/log.ts';
import { waitFor } from '../../test/support/wait.ts';
import { statsMethods } from './methods.ts';
import type { StatsMethods } from './methods.ts';
import { figures, makeWorld, sleeper } from './testing/world.ts';
import type { World } from './testing/world.ts';

const use: Pick<VmUse, 'of'> = { of: () => ({ lastUsedAt: 1_000_000, holds: ['ssh session'] }) };
const methodsOf = (world: World): StatsMethods => statsMethods({ vms: world.vms, use, watch: world.watch, metrics: async () => '# EOF\n' });
type Params = { readonly refs?: readonly string[]; readonly wait?: boolean };
async function stats(world: World, params: Params = {}): Promise<readonly VmStats[]> {
  const method = methodsOf(world)['vm.stats'];
  return method.result.parse(await method.handler(method.params.parse(params), makeCall({ log: nullLog }))).stats as readonly VmStats[];
}
const only = async (world: World, params: Params = {}): Promise<VmStats> => (await stats(world, params))[0]!;
const question = (world: World, n: number) => waitFor(`question ${n}`, () => world.asked[n - 1]);

test('a running VM: figures of the host, of the guest, of disks and of use', async () => {
  const disk = join(makeDir(), 'disk');
  writeFileSync(disk, 'x'.repeat(5000));
  const world = makeWorld({ disks: { files: async () => [{ id: 'root', path: disk, virtualBytes: 8e9 }] } });
  const vm = await world.add('devbox');
  const asked = only(world, { refs: ['devbox'] });
  (await question(world, 1)).answer();
  const guest: Record<string, unknown> = { ...figures() };
  delete guest['network'];
  expect(await asked).toEqual({
    vm: { id: vm.id, name: 'devbox' }, state: 'running', stale: false, at: expect.stringMatching(/^\d{4}-.*Z$/) as string, guestAt: expect.stringMatching(/^\d{4}-.*Z$/) as string, memoryMiB: 512,
    host: { cpuSeconds: expect.any(Number) as number, rssBytes: expect.any(Number) as number, pssBytes: expect.any(Number) as number, threads: expect.any(Number) as number },
    guest, network: { rxBytes: 1000, txBytes: 200 }, uptimeSeconds: expect.any(Number) as number,
    disks: [{ id: 'root', allocatedBytes: 8192, virtualBytes: 8e9 }], use: { lastUsedAt: '1970-01-01T00:16:40.000Z', holds: ['ssh session'] },
  });
});

test('a disk that cannot be looked at is left out, and hides nothing else', async () => {
  const world = makeWorld({ disks: { files: async () => [{ id: 'root', path: join(world.dir, 'x'.repeat(300)), virtualBytes: 8e9 }] } });
  await world.add('devbox');
  const asked = only(world);
  (await question(world, 1)).answer();
  expect(await asked).toMatchObject({ state: 'running', disks: [], host: { threads: expect.any(Number) as number } });
});

test('percents are of one CPU, once there are two measurements; a guest cannot have used more than it has', async () => {
  let at = 0;
  const world = makeWorld({ times: { now: () => at, monotonicMs: () => at } });
  await world.add('devbox');
  const first = only(world);
  (await question(world, 1)).answer();
  expect((await first).host?.cpuPercent).toBeUndefined();
  at = 10_000;
  const second = only(world);
  (await question(world, 2)).answer(figures({ cpu: { busySeconds: 15, idleSeconds: 104, stolenSeconds: 2 } }));
  expect(await second).toMatchObject({ host: { cpuPercent: expect.any(Number) as number }, guest: { cpuPercent: 50 } });
  at = 20_000;
  const third = only(world);
  (await question(world, 3)).answer(figures({ cpu: { busySeconds: 1e12, idleSeconds: 104, stolenSeconds: 2 } }));
  expect((await third).guest?.cpuPercent).toBe(200);
});

test('a frozen agent, a stopped VMM and a paused VM: an answer for each, with the reason, and none for another\'s sake', async () => {
  const world = makeWorld({ limitMs: 1000 });
  const [well, frozen, paused] = [await world.add('well'), await world.add('frozen'), await world.add('paused')];
  const vmm = sleeper();
  const stopped = await world.add('stopped', { process: vmm.identity });
  vmm.kill('SIGSTOP');
  world.vms.pausedIds.add(paused.id);
  const all = stats(world);
  (await waitFor('the question', () => world.asked.find(({ vm }) => vm.id === well.id))).answer();
  const byName = new Map((await all).map((entry) => [entry.vm.name, entry]));
  expect(byName.get('well')).toMatchObject({ guest: { uptimeSeconds: 101 } });
  expect(byName.get('well')).not.toHaveProperty('problem');
  expect(byName.get('frozen')).toMatchObject({ state: 'running', problem: 'its guest agent did not answer within 1 s', host: { threads: expect.any(Number) as number } });
  expect(byName.get('frozen')).not.toHaveProperty('guest');
  expect(byName.get('paused')).toMatchObject({ state: 'paused', problem: 'it is paused' });
  expect(byName.get('stopped')).toMatchObject({ problem: `its VMM, process ${vmm.identity.pid}, was stopped by a signal` });
  expect(world.asked.map(({ vm }) => vm.id).sort()).toEqual([well.id, frozen.id, stopped.id].sort());
});

test('without a wait nobody waits for a guest; the answer is there the next time', async () => {
  let now = 1e12;
  const world = makeWorld({ times: { now: () => now, monotonicMs: () => now } });
  await world.add('devbox');
  expect(await only(world, { wait: false })).toMatchObject({ problem: 'its guest has not been asked yet' });
  (await question(world, 1)).answer();
  await waitFor('the answer', () => world.watch.questions.openCount === 0);
  const second = await only(world, { wait: false });
  expect(second).toMatchObject({ guest: { uptimeSeconds: 101 } });
  // What costs the kernel a walk over the page tables is for those who ask and wait.
  expect(second.host).not.toHaveProperty('pssBytes');
  // One that answered just now is not asked again for every frame of every client.
  now += 4000;
  await only(world, { wait: false });
  expect(world.asked).toHaveLength(1);
  now += 1000;
  await only(world, { wait: false });
  // A guest that was well and has fallen silent: nothing old is shown as if it were true.
  (await question(world, 2)).fail(timedOut('the guest', 2000));
  await waitFor('the failure', () => world.watch.all()[0]!.failures === 1);
  expect(await only(world, { wait: false })).not.toHaveProperty('guest');
});

test('a stopped VM shows its last figures, marked so, also to the next daemon', async () => {
  const world = makeWorld();
  const vm = await world.add('devbox');
  expect((await only(world, { wait: false })).stale).toBe(false);
  (await question(world, 1)).answer();
  await waitFor('the answer', () => world.watch.questions.openCount === 0);
  const { at, host } = await only(world, { wait: false });
  world.stop(vm);
  const last = { state: 'stopped', stale: true, host: { rssBytes: host!.rssBytes }, guest: { uptimeSeconds: 101 }, use: { holds: [] } };
  expect(await only(world)).toMatchObject({ ...last, at });
  await world.watch.close();
  const next = makeWorld();
  next.vms.all.set(vm.id, vm);
  expect(await only(next)).toMatchObject({ ...last, at });
});

test('the last figures of a guest that fell silent long before the end say when they were told', async () => {
  let now = 1e12;
  const world = makeWorld({ times: { now: () => now, monotonicMs: () => now } });
  const vm = await world.add('devbox');
  await only(world, { wait: false });
  (await question(world, 1)).answer();
  await waitFor('the answer', () => world.watch.questions.openCount === 0);
  now += 3_600_000;
  await world.watch.round();
  (await question(world, 2)).fail(timedOut('the guest', 2000));
  await waitFor('the failure', () => world.watch.all()[0]!.failures === 1);
  expect(await only(world, { wait: false })).not.toHaveProperty('guestAt');
  world.stop(vm);
  const last = { at: new Date(now).toISOString(), guestAt: new Date(1e12).toISOString(), guest: { uptimeSeconds: 101 }, network: { rxBytes: 1000 } };
  expect(await only(world)).toMatchObject(last);
  await world.watch.close();
  const next = makeWorld();
  next.vms.all.set(vm.id, vm);
  expect(await only(next)).toMatchObject(last);
});

test('one that never ran has none, and a new run does not show those of the last', async () => {
  const world = makeWorld();
  const vm = { ...await world.add('devbox'), dir: join(world.dir, 'other') };
  world.stop(vm);
  await world.watch.close();
  const next = makeWorld();
  const fresh = await next.add('devbox');
  next.stop(fresh, 'deleted');
  next.vms.all.set(fresh.id, fresh);
  rmSync(join(fresh.dir, 'stats.json'), { force: true });
  expect(await only(next)).toMatchObject({ state: 'stopped', stale: false, disks: [] });
  expect(await only(next)).not.toHaveProperty('host');
});

test('each VM once, in the order asked for; a reference that fits none is the caller\'s mistake', async () => {
  const world = makeWorld();
  const names = ['a', 'b', 'c'];
  for (const name of names) await world.add(name);
  expect((await stats(world, { refs: ['c', 'a', 'c'], wait: false })).map((entry) => entry.vm.name)).toEqual(['c', 'a']);
  expect((await stats(world, { wait: false })).map((entry) => entry.vm.name)).toEqual(names);
  await expect(stats(world, { refs: ['a', 'nobody'] })).rejects.toMatchObject({ code: 'not_found' });
  expect(await stats(world, { refs: [] })).toEqual([]);
});

test('a VM that ends while its guest is asked is shown as stopped', async () => {
  const world = makeWorld();
  const vmm = sleeper();
  const vm = await world.add('devbox', { process: vmm.identity });
  const asked = only(world);
  await question(world, 1);
  vmm.kill('SIGKILL');
  await waitFor('the end of the process', () => !existsSync(`/proc/${vmm.identity.pid}/exe`) || readFileSync(`/proc/${vmm.identity.pid}/stat`, 'latin1').includes(') Z '));
  world.stop(vm);
  expect(await asked).toMatchObject({ state: 'stopped', stale: true });
});

test('health and ping: well, short of something, silent, not running', async () => {
  const world = makeWorld({ limitMs: 1000 });
  const { 'vm.health': health, 'vm.ping': ping } = methodsOf(world);
  const [well, full] = [await world.add('well'), await world.add('full')];
  await world.add('silent');
  const off = await world.add('off');
  world.stop(off);
  const all = health.handler({}, makeCall({ log: nullLog }));
  const to = (vm: Vm) => waitFor(`the question to ${vm.name}`, () => world.asked.find((one) => one.vm.id === vm.id));
  (await to(well)).answer();
  (await to(full)).answer(figures({ fileSystems: [{ path: '/root', totalBytes: 100, usedBytes: 99, availableBytes: 1, inodes: 1000, freeInodes: 1 }] }));
  const result = health.result.parse(await all).health;
  expect(result.map(({ vm, ...rest }) => [vm.name, rest])).toEqual([
    ['well', { state: 'running', healthy: true, answeredMs: expect.any(Number) as number, warnings: [] }],
    ['full', { state: 'running', healthy: true, answeredMs: expect.any(Number) as number, warnings: ["the guest's file system /root is 99 % full", "the guest's file system /root is almost out of inodes"] }],
    ['silent', { state: 'running', healthy: false, reason: 'its guest agent did not answer within 1 s', warnings: [] }],
    ['off', { state: 'stopped', healthy: false, reason: 'it is not running', warnings: [] }],
  ]);
  const pings = ping.result.parse(await ping.handler({ refs: ['off', 'silent'] }, makeCall({ log: nullLog }))).pings;
  expect(pings).toEqual([
    { vm: { id: off.id, name: 'off' }, alive: false, reason: 'it is not running' },
    { vm: expect.objectContaining({ name: 'silent' }) as object, alive: false, reason: 'its guest agent did not answer within 1 s' },
  ]);
});

test('health does not call a guest well that there was no room to ask', async () => {
  const world = makeWorld({ limitMs: 300 });
  const { 'vm.health': health } = methodsOf(world);
  const vm = await world.add('well');
  const first = health.handler({ refs: ['well'] }, makeCall({ log: nullLog }));
  (await question(world, 1)).answer();
  expect((await first).health[0]).toMatchObject({ healthy: true });
  for (let n = 0; n < 64; n += 1) await world.add(`freezing${n}`);
  const others = world.watch.all().filter((one) => one.vm.id !== vm.id).map((one) => world.watch.questions.ask(one));
  const { health: [second] } = await health.handler({ refs: ['well'] }, makeCall({ log: nullLog }));
  expect(second).toMatchObject({ state: 'running', healthy: false, reason: 'it was not asked: too many others were waited for' });
  expect(second).not.toHaveProperty('answeredMs');
  await Promise.all(others);
});

function makeDir(): string {
  return makeWorld().dir;
}
