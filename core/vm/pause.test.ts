import { existsSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import type { VmListResult, VmView } from '../api.ts';
import { operationFailed, timedOut } from '../errors.ts';
import { fakeDriverPlugins } from '../../test/support/fake-driver.ts';
import type { FakeDriverOptions } from '../../test/support/fake-driver.ts';
import { bootTestDaemon, tempState } from '../../test/support/vm-fixture.ts';
import type { TestDaemon } from '../../test/support/vm-fixture.ts';
import { waitFor } from '../../test/support/wait.ts';

async function boot(fake: FakeDriverOptions = {}): Promise<{ daemon: TestDaemon; vm: VmView }> {
  const daemon = await bootTestDaemon({ dir: tempState(), plugins: () => fakeDriverPlugins(fake) });
  return { daemon, vm: await daemon.create({ name: 'devbox' }) };
}
const verb = async (daemon: TestDaemon, name: string): Promise<VmView> => (await daemon.call(`vm.${name}`, { ref: 'devbox' })).vm;
/** The fake VMM is stopped as a guest's CPUs would be. */
const isStill = (vm: VmView): boolean => /^State:\s+T/m.test(readFileSync(`/proc/${vm.process?.pid}/status`, 'latin1'));

it('holds the VM still and shows it, and lets it go on; asking again changes nothing', async () => {
  const { daemon, vm } = await boot();
  for (let times = 0; times < 2; times += 1) expect(await verb(daemon, 'pause')).toMatchObject({ state: 'paused', process: vm.process });
  await waitFor('the VMM to be still', () => isStill(vm));
  expect((await daemon.call<VmListResult>('vm.list', {})).vms).toMatchObject([{ name: 'devbox', state: 'paused', process: vm.process }]);
  for (let times = 0; times < 2; times += 1) expect(await verb(daemon, 'resume')).toMatchObject({ state: 'running', process: vm.process });
  await waitFor('the VMM to go on', () => !isStill(vm));
  expect(daemon.operations.list().map(({ kind, subject, state }) => `${kind} ${subject} ${state}`)).toContain('vm.pause devbox done');
});

it('counts a paused VM as running, and refuses what needs its guest with wrong_state', async () => {
  const { daemon, vm } = await boot();
  daemon.registry.note(vm.id, 'a note');
  await verb(daemon, 'pause');
  expect(daemon.service.counts()).toEqual({ total: 1, running: 1 });
  expect([daemon.registry.isRunning(vm.id), daemon.registry.process(vm.id)?.pid]).toEqual([true, vm.process?.pid]);
  expect(await verb(daemon, 'show')).toMatchObject({ stateReason: 'a note' });
  expect(await daemon.call('vm.logs', { ref: 'devbox' })).toMatchObject({ grows: true });
  const refused = { code: 'wrong_state', message: 'VM devbox is paused', hint: 'banger vm resume devbox' };
  await expect(daemon.call('vm.exec', { ref: 'devbox', command: ['true'], stdin: false })).rejects.toMatchObject(refused);
  await expect(daemon.call('vm.exec.detach', { ref: 'devbox', command: ['true'] })).rejects.toMatchObject(refused);
  await expect(daemon.call('vm.exec.list', { ref: 'devbox' })).rejects.toMatchObject(refused);
  await expect(verb(daemon, 'start')).rejects.toMatchObject(refused);
});

it('resumes a paused VM to stop it, and neither to kill nor to delete it', async () => {
  const atUndo: string[] = [];
  const { daemon, vm } = await boot({
    onCall: ({ kind, step }) => {
      if (kind === 'undo' && step === 'fake.vmm') atUndo.push(existsSync(`/proc/${vm.process?.pid}`) ? 'alive' : 'gone');
    },
  });
  await verb(daemon, 'pause');
  expect(await verb(daemon, 'stop')).toMatchObject({ state: 'stopped' });
  // By TERM of the stop step, which a process that stands still does not heed.
  expect(atUndo).toEqual(['gone']);
  expect(daemon.registry.isPaused(vm.id)).toBe(false);
  for (const last of ['kill', 'delete']) {
    await verb(daemon, 'start');
    await verb(daemon, 'pause');
    const { process: fake } = await verb(daemon, 'show');
    const still = { process: fake } as VmView;
    await waitFor('the VMM to be still', () => isStill(still));
    await daemon.call(`vm.${last}`, { ref: 'devbox' });
    expect(daemon.registry.isPaused(vm.id)).toBe(false);
  }
});

it('sets the clock of a guest that goes on, and resumes it also where that fails', async () => {
  const set: string[] = [];
  let fails = false;
  const { daemon } = await boot({
    syncClock: async (vm) => {
      set.push(`${vm.name} ${daemon.registry.isPaused(vm.id)}`);
      if (fails) throw operationFailed('no clock');
    },
  });
  await verb(daemon, 'resume');
  await verb(daemon, 'pause');
  expect(set).toEqual([]);
  await verb(daemon, 'resume');
  expect(set).toEqual(['devbox false']);
  fails = true;
  await verb(daemon, 'pause');
  expect(await verb(daemon, 'resume')).toMatchObject({ state: 'running' });
  expect(daemon.log).toContainEqual(expect.objectContaining({ message: 'the clock of the guest could not be set' }));
});

it('has the clock of a guest set also where the VMM did not say in time that it goes on', async () => {
  const set: string[] = [];
  const { daemon } = await boot({
    resume: () => Promise.reject(timedOut('the VMM of devbox to resume', 10_000)),
    syncClock: async (vm) => { set.push(`${vm.name} ${daemon.registry.isPaused(vm.id)}`); },
  });
  await verb(daemon, 'pause');
  await expect(verb(daemon, 'resume')).rejects.toMatchObject({ code: 'timeout' });
  await waitFor('the question for its time', () => set.length > 0);
  // Of a paused VM the agent keeps it for later.
  expect(set).toEqual(['devbox true']);
});

it('holds no other verb up while a guest that goes on is asked for its clock', async () => {
  const asked = Promise.withResolvers<undefined>();
  const answer = Promise.withResolvers<undefined>();
  const { daemon } = await boot({ syncClock: async () => { asked.resolve(undefined); await answer.promise; } });
  await verb(daemon, 'pause');
  let isOver = false;
  const resuming = verb(daemon, 'resume').finally(() => { isOver = true; });
  await asked.promise;
  expect(await verb(daemon, 'kill')).toMatchObject({ state: 'stopped' });
  expect(isOver).toBe(false);
  answer.resolve(undefined);
  expect(await resuming).toMatchObject({ state: 'stopped' });
});

it('hears of no pause of a VM that does not run', async () => {
  const { daemon, vm } = await boot();
  await verb(daemon, 'kill');
  daemon.registry.paused(vm.id, true);
  expect(daemon.registry.isPaused(vm.id)).toBe(false);
});

it('refuses a VM that does not run, and a driver that cannot', async () => {
  const { daemon } = await boot({ cannotPause: true });
  await expect(verb(daemon, 'pause')).rejects.toMatchObject({ code: 'unsupported' });
  await expect(verb(daemon, 'resume')).rejects.toMatchObject({ code: 'unsupported' });
  await verb(daemon, 'kill');
  await expect(verb(daemon, 'pause')).rejects.toMatchObject({ code: 'not_running' });
  await expect(verb(daemon, 'resume')).rejects.toMatchObject({ code: 'not_running' });
});

it('forgets the pause of a run that has ended by itself', async () => {
  const { daemon, vm } = await boot();
  await verb(daemon, 'pause');
  daemon.service.start();
  process.kill(vm.process?.pid ?? 0, 'SIGKILL');
  await waitFor('the VM to be stopped', async () => (await verb(daemon, 'show')).state === 'stopped');
  expect(await verb(daemon, 'start')).toMatchObject({ state: 'running' });
});
