// The disk that holds the database is full: what was made is undone all the same, and deleting a VM is what frees the space.
import { readdirSync } from 'node:fs';
import { expect, it } from 'vitest';
import type { VmView } from '../api.ts';
import { operationFailed } from '../errors.ts';
import { fakeDriverPlugins } from '../../test/support/fake-driver.ts';
import type { FakeDriverOptions } from '../../test/support/fake-driver.ts';
import { refuseWrites } from '../../test/support/full-store.ts';
import { bootTestDaemon, tempState } from '../../test/support/vm-fixture.ts';
import type { TestDaemon } from '../../test/support/vm-fixture.ts';
import type { FaultPoints } from './faults.ts';

const boot = (dir: string, fake: FakeDriverOptions = {}, faults?: FaultPoints): Promise<TestDaemon> =>
  bootTestDaemon({ dir, plugins: () => fakeDriverPlugins(fake), ...(faults === undefined ? {} : { faults }) });
const processesOf = (daemon: TestDaemon): unknown[] => daemon.processes.findByMark(`${daemon.store.installId}/`, { prefix: true });
const show = async (daemon: TestDaemon, ref: string): Promise<VmView> => (await daemon.call('vm.show', { ref })).vm;

it('deletes a VM when undoing it makes room for the ledger again', async () => {
  let allow = (): void => undefined;
  const daemon = await boot(tempState(), {
    onCall: ({ kind, step }) => { if (kind === 'undo' && step === 'fake.disk') allow(); },
  });
  await daemon.create({ name: 'devbox' });
  allow = refuseWrites(daemon.paths);
  await daemon.call('vm.delete', { ref: 'devbox' });
  expect(processesOf(daemon)).toEqual([]);
  expect(readdirSync(daemon.paths.vmsDir)).toEqual([]);
  expect(daemon.store.ledger.count()).toBe(0);
  expect(daemon.store.vms.list()).toEqual([]);
});

it('frees everything of a VM though no mark can be written, and says so; the next delete finishes it', async () => {
  const daemon = await boot(tempState());
  await daemon.create({ name: 'devbox' });
  const allow = refuseWrites(daemon.paths);
  await expect(daemon.call('vm.delete', { ref: 'devbox' })).rejects.toMatchObject({ code: 'undo_failed', message: expect.stringContaining('database') as string });
  expect(processesOf(daemon)).toEqual([]);
  expect(readdirSync(daemon.paths.vmsDir)).toEqual([]);
  allow();
  await daemon.call('vm.delete', { ref: 'devbox' });
  expect(daemon.store.ledger.count()).toBe(0);
  expect(daemon.store.vms.list()).toEqual([]);
});

it.each(['vm.kill', 'vm.stop'])('%s ends a VM though nothing can be written, and shows it as stopped', async (verb) => {
  const daemon = await boot(tempState());
  await daemon.create({ name: 'devbox' });
  const allow = refuseWrites(daemon.paths);
  await expect(daemon.call(verb, { ref: 'devbox' })).rejects.toMatchObject({ code: 'undo_failed' });
  expect(processesOf(daemon)).toEqual([]);
  expect((await show(daemon, 'devbox')).state).toBe('stopped');
  allow();
  await daemon.call('vm.start', { ref: 'devbox' });
  expect((await show(daemon, 'devbox')).state).toBe('running');
});

it('undoes a start in whose middle the disk ran full, with the reason', async () => {
  let allow = (): void => undefined;
  const daemon = await boot(tempState(), {}, {
    at: (point, step) => {
      if (point !== 'handle-written' || step !== 'fake.vmm') return;
      allow = refuseWrites(daemon.paths);
      throw operationFailed('the guest found no room');
    },
  });
  await expect(daemon.create({ name: 'devbox' })).rejects.toMatchObject({ code: 'start_failed', message: expect.stringContaining('the guest found no room') as string });
  expect(processesOf(daemon)).toEqual([]);
  allow();
  await daemon.call('vm.delete', { ref: 'devbox' });
  expect(daemon.store.ledger.count()).toBe(0);
});

it('clears what a full disk left half-marked by itself, once there is room', async () => {
  const dir = tempState();
  const daemon = await boot(dir);
  await daemon.service.start().finished;
  const { id } = await daemon.create({ name: 'devbox' });
  daemon.store.vms.update(id, { activity: 'stopping', activityOp: 'op-lost' });
  for (const { process } of daemon.processes.findByMark(`${daemon.store.installId}/${id}/fake.vmm`)) await daemon.processes.end(process, { graceMs: 0 });
  await expect.poll(async () => (await show(daemon, 'devbox')).state, { timeout: 20_000 }).toBe('stopped');
  await expect.poll(() => processesOf(daemon), { timeout: 20_000 }).toEqual([]);
});

it('a reboot of the guest that cannot be counted is no fault of whoever reports it', async () => {
  const daemon = await boot(tempState());
  const { id } = await daemon.create({ name: 'devbox' });
  const allow = refuseWrites(daemon.paths);
  daemon.registry.rebooted(id);
  allow();
  daemon.registry.rebooted(id);
  expect((await show(daemon, 'devbox')).reboots).toBe(1);
});
