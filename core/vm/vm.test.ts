import { readFileSync, readdirSync } from 'node:fs';
import { totalmem } from 'node:os';
import { describe, expect, it, vi } from 'vitest';
import type { VmListResult, VmPlanResult, VmView } from '../api.ts';
import { fakeDriverPlugins } from '../../test/support/fake-driver.ts';
import type { FakeDriverOptions } from '../../test/support/fake-driver.ts';
import { bootTestDaemon, makePeer, tempState } from '../../test/support/vm-fixture.ts';
import type { TestDaemon } from '../../test/support/vm-fixture.ts';
import { waitFor } from '../../test/support/wait.ts';
import type { FaultPoints } from '../lifecycle/faults.ts';

const boot = (fake: FakeDriverOptions = {}, faults?: FaultPoints): Promise<TestDaemon> =>
  bootTestDaemon({ dir: tempState(), plugins: () => fakeDriverPlugins(fake), ...(faults === undefined ? {} : { faults }) });
const show = async (daemon: TestDaemon, ref: string): Promise<VmView> => (await daemon.call('vm.show', { ref })).vm;

describe('creating', () => {
  it('starts the VM, with defaults and sections filled in', async () => {
    const daemon = await boot();
    const vm = await daemon.create({ name: 'devbox', sections: { fake: { note: 'hi' } } });
    expect(vm).toMatchObject({
      name: 'devbox', state: 'running', image: 'fake', imageId: 'fake-image-1', kernel: 'fake-kernel-1', driver: 'fake', vcpu: 1, memoryMiB: 64,
      init: 'auto', reboots: 0, sections: { fake: { note: 'hi' } },
    });
    expect(daemon.registry.isRunning(vm.id)).toBe(true);
    expect(daemon.operations.list()).toMatchObject([{ kind: 'vm.create', subject: 'devbox', state: 'done', done: true }]);
    expect(daemon.operations.list()[0]?.timeline.map(({ name, outcome }) => `${name} ${outcome}`)).toContain('fake.vmm ok');
  });

  it('names every wrong field at once and makes nothing', async () => {
    const daemon = await boot();
    const bad = { name: 'Bad_Name', vcpu: 0, memoryMiB: 1, driver: 'fak', env: { '1A': 'x' }, sections: { fake: { note: 1 }, fke: {} } };
    await expect(daemon.create(bad)).rejects.toMatchObject({
      code: 'bad_request', detail: { issues: expect.arrayContaining(
        ['name', 'vcpu', 'memoryMiB', 'driver', 'env.1A', 'sections.fke', 'sections.fake.note'].map((path) => expect.objectContaining({ path }) as unknown)) },
    });
    await expect(daemon.create({ image: 'nope' })).rejects.toMatchObject({ code: 'not_found' });
    expect(daemon.store.vms.list()).toEqual([]);
    expect(readdirSync(daemon.paths.vmsDir)).toEqual([]);
  });

  it('gives eight at once eight names and slots, and reuses a free slot', async () => {
    const daemon = await boot();
    const made = await Promise.all(Array.from({ length: 8 }, () => daemon.create({ start: false })));
    const records = daemon.store.vms.list();
    expect(new Set(made.map(({ name }) => name)).size).toBe(8);
    expect(records.map(({ slot }) => slot).toSorted()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    const third = records.find(({ slot }) => slot === 3);
    await daemon.call('vm.delete', { ref: third?.id ?? '' });
    const again = await daemon.create({ start: false });
    expect(daemon.store.vms.get(again.id)?.slot).toBe(3);
    expect(again.state).toBe('created');
  });

  it('refuses what the host has no memory for before there is a record', async () => {
    const daemon = await boot();
    await expect(daemon.create({ name: 'huge', memoryMiB: Math.floor(totalmem() / 1024 ** 2) - 1 })).rejects.toMatchObject({ code: 'missing_requirement' });
    expect(daemon.store.vms.list()).toEqual([]);
  });

  it('writes the record as a start under way, so that a daemon that dies right then leaves an interrupted start', async () => {
    const daemon = await boot();
    await daemon.create({ name: 'resting', start: false });
    const update = vi.spyOn(daemon.store.vms, 'update');
    await daemon.create({ name: 'seen' });
    expect(update.mock.calls[0]?.[1]).toMatchObject({ activity: 'starting', activityOp: expect.stringMatching(/^op-/) as string });
    expect(daemon.store.vms.getByName('resting')?.activity).toBeUndefined();
  });

  it('refuses a taken name', async () => {
    const daemon = await boot();
    await daemon.create({ name: 'devbox', start: false });
    await expect(daemon.create({ name: 'devbox', start: false })).rejects.toMatchObject({ code: 'already_exists' });
  });

  it('in the background answers at once, is polled and can be cancelled', async () => {
    const reached = Promise.withResolvers<void>();
    const daemon = await boot({
      steps: [{
        name: 'fake.slow', phase: 'network', timeoutMs: 60_000, plan: () => ({ data: null, makes: [] }),
        run: ({ signal }) => new Promise((_, reject) => { reached.resolve(); signal.addEventListener('abort', () => reject(signal.reason as Error)); }),
      }],
    });
    const { operation } = await daemon.call<{ operation: { id: string } }>('vm.create.begin', { name: 'devbox' });
    await reached.promise;
    expect(await daemon.call('vm.create.status', { id: operation.id })).toMatchObject({
      operation: { state: 'running', done: false, stage: 'fake.slow' }, vm: { name: 'devbox', state: 'starting' },
    });
    await daemon.call('vm.create.cancel', { id: operation.id });
    await waitFor('the end of the operation', () => daemon.operations.show(operation.id).done);
    expect(daemon.operations.show(operation.id)).toMatchObject({ state: 'cancelled', subject: 'devbox' });
    expect(daemon.store.vms.list()).toEqual([]);
    expect(daemon.store.ledger.count()).toBe(0);
  });

  it('only plans when asked to: no row, no file, no process', async () => {
    const daemon = await boot();
    const plan = await daemon.call<VmPlanResult>('vm.plan', { name: 'devbox' });
    expect(plan.vm.name).toBe('devbox');
    expect(plan.steps.map(({ name, phase }) => `${phase} ${name}`)).toEqual([
      'preflight fake.check', 'storage fake.disk', 'guest fake.initrd', 'network fake.netns', 'boot fake.vmm', 'ready fake.ready', 'publish fake.publish',
    ]);
    expect(plan.steps[4]?.makes).toEqual(['process fake.vmm']);
    expect([daemon.store.vms.list(), daemon.store.ledger.count(), readdirSync(daemon.paths.vmsDir)]).toEqual([[], 0, []]);
    expect(daemon.processes.findByMark(`${daemon.store.installId}/`, { prefix: true })).toEqual([]);
  });
});

describe('a lease', () => {
  it('deletes the VM when its client goes away', async () => {
    const daemon = await boot();
    const client = makePeer();
    await daemon.create({ name: 'leased', lease: true }, { peer: client.peer });
    client.close();
    await waitFor('the VM to be gone', () => daemon.store.vms.list().length === 0);
    expect(daemon.store.ledger.count()).toBe(0);
    expect(readdirSync(daemon.paths.vmsDir)).toEqual([]);
  });

  it('undoes a start whose client goes away meanwhile', async () => {
    const client = makePeer();
    const daemon = await boot({}, { at: (point, step) => { if (point === 'host-touched' && step === 'fake.netns') client.close(); } });
    await expect(daemon.create({ name: 'leased', lease: true }, { peer: client.peer })).rejects.toMatchObject({ code: 'cancelled' });
    await waitFor('the VM to be gone', () => daemon.store.vms.list().length === 0);
    expect(daemon.processes.findByMark(`${daemon.store.installId}/`, { prefix: true })).toEqual([]);
  });
});

describe('references', () => {
  it('are an id, a name, or a unique prefix of either', async () => {
    const daemon = await boot();
    const a = await daemon.create({ name: 'web', start: false });
    await daemon.create({ name: 'web-2', start: false });
    const db = await daemon.create({ name: 'zzz-db', start: false });
    expect((await show(daemon, a.id)).name).toBe('web');
    expect((await show(daemon, 'web')).id).toBe(a.id);
    expect((await show(daemon, 'zzz')).id).toBe(db.id);
    await expect(show(daemon, 'we')).rejects.toMatchObject({ code: 'ambiguous_ref', message: expect.stringContaining('web, web-2') as string });
    await expect(show(daemon, 'nope')).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('stop, kill, restart and delete', () => {
  it('stop asks first; the disk stays and the state says stopped', async () => {
    const daemon = await boot();
    const vm = await daemon.create({ name: 'devbox' });
    expect((await daemon.call('vm.stop', { ref: 'devbox' })).vm).toMatchObject({ state: 'stopped' });
    expect(readdirSync(daemon.paths.vmDir(vm.id)).filter((name) => !name.startsWith('console'))).toEqual(['disk.raw']);
    expect((await daemon.call('vm.stop', { ref: 'devbox' })).vm.state).toBe('stopped');
    const again = (await daemon.call('vm.start', { ref: 'devbox' })).vm;
    expect(again.process).not.toEqual(vm.process);
  });

  it('stop ends a VMM that does not listen', async () => {
    const daemon = await boot({ vmm: 'stubborn' });
    const vm = await daemon.create({ name: 'devbox' });
    await daemon.call('vm.stop', { ref: 'devbox' });
    expect(daemon.processes.identify(vm.process?.pid ?? 0)).toBeUndefined();
  });

  it('kill sends a listed signal only, and only to a running VM', async () => {
    const daemon = await boot();
    await daemon.create({ name: 'devbox' });
    await expect(daemon.call('vm.kill', { ref: 'devbox', signal: 'STOP' })).rejects.toMatchObject({ code: 'bad_request' });
    expect((await daemon.call('vm.kill', { ref: 'devbox', signal: 'SIGTERM' })).vm).toMatchObject({ state: 'stopped', stateReason: 'killed' });
    await expect(daemon.call('vm.kill', { ref: 'devbox' })).rejects.toMatchObject({ code: 'not_running' });
  });

  it('restart is another process', async () => {
    const daemon = await boot();
    const vm = await daemon.create({ name: 'devbox' });
    const again = (await daemon.call('vm.restart', { ref: 'devbox' })).vm;
    expect(again.state).toBe('running');
    expect(again.process?.pid).not.toBe(vm.process?.pid);
  });

  it('delete takes a running VM with all it has; whoever waited for its lock hears not_found', async () => {
    const daemon = await boot();
    const vm = await daemon.create({ name: 'devbox' });
    const changes: string[] = [];
    daemon.registry.onChange(({ kind }) => changes.push(kind));
    const [deleted, started] = await Promise.allSettled([daemon.call('vm.delete', { ref: 'devbox' }), daemon.call('vm.start', { ref: 'devbox' })]);
    expect(deleted).toMatchObject({ status: 'fulfilled', value: { id: vm.id, name: 'devbox' } });
    expect(started).toMatchObject({ status: 'rejected', reason: { code: 'not_found' } });
    expect([daemon.store.ledger.count(), readdirSync(daemon.paths.vmsDir), changes]).toEqual([0, [], ['stopped', 'deleted']]);
  });
});

describe('a VM that ends by itself', () => {
  it('is torn down, with the reason that its driver reported', async () => {
    const daemon = await boot();
    daemon.service.start();
    const vm = await daemon.create({ name: 'devbox' });
    daemon.registry.ended(vm.id, 'guest-poweroff');
    process.kill(vm.process?.pid ?? 0, 'SIGKILL');
    await waitFor('the teardown', () => daemon.store.ledger.byOwner(`vm:${vm.id}`).every(({ lifetime }) => lifetime === 'vm'));
    await waitFor('the state', async () => (await show(daemon, 'devbox')).stateReason === 'guest poweroff');
    expect((await show(daemon, 'devbox')).state).toBe('stopped');
    expect((await daemon.call('vm.start', { ref: 'devbox' })).vm.state).toBe('running');
  });

  it('is torn down without any report too', async () => {
    const daemon = await boot();
    daemon.service.start();
    const vm = await daemon.create({ name: 'devbox' });
    process.kill(vm.process?.pid ?? 0, 'SIGKILL');
    await waitFor('the teardown', async () => (await show(daemon, 'devbox')).stateReason === 'VMM died');
    expect(daemon.processes.findByMark(`${vm.id}`, { prefix: true })).toEqual([]);
  });
});

describe('set', () => {
  it('changes sizes for the next start and sections through their plugin', async () => {
    const daemon = await boot();
    await daemon.create({ name: 'devbox', start: false });
    const { vm } = await daemon.call('vm.set', { ref: 'devbox', vcpu: 2, memoryMiB: 128, sections: { fake: { note: 'new' } } });
    expect(vm).toMatchObject({ vcpu: 2, memoryMiB: 128, sections: { fake: { note: 'new' } } });
    await expect(daemon.call('vm.set', { ref: 'devbox', vcpu: -1, sections: { fake: { note: 'refuse' } } })).rejects.toMatchObject({ code: 'bad_request' });
    await expect(daemon.call('vm.set', { ref: 'devbox', vcpu: 1, sections: { fake: { note: 'refuse' } } })).rejects.toMatchObject({ code: 'not_found' });
    expect(await show(daemon, 'devbox')).toMatchObject({ vcpu: 2, sections: { fake: { note: 'new' } } });
  });
});

describe('list', () => {
  it('of a thousand takes no lock: it answers while a VM is held', async () => {
    const daemon = await boot();
    const vm = await daemon.create({ name: 'held' });
    const spec = daemon.store.vms.get(vm.id)?.spec;
    if (spec === undefined) throw new Error('no spec');
    daemon.store.transaction(() => {
      for (let slot = 2; slot <= 1000; slot += 1) {
        daemon.store.vms.insert({ id: slot.toString(16).padStart(12, '0'), name: `vm-${slot}`, slot, spec, createdAt: '2026-01-01T00:00:00.000Z', lease: false });
      }
    });
    process.kill(vm.process?.pid ?? 0, 'SIGSTOP');
    const stopping = daemon.call('vm.stop', { ref: 'held' });
    const listWhenHeld = async (): Promise<VmListResult | undefined> => {
      const answer = await daemon.call<VmListResult>('vm.list', {});
      return answer.vms.find(({ name }) => name === 'held')?.state === 'stopping' ? answer : undefined;
    };
    const list = await waitFor('the stop to hold the lock', listWhenHeld);
    expect(list.vms).toHaveLength(1000);
    await expect(Promise.race([stopping.then(() => 'stopped'), listWhenHeld().then(() => 'listed')])).resolves.toBe('listed');
    expect(list.columns).toEqual([{ header: 'NOTE', section: 'fake', key: 'note' }]);
    expect(daemon.service.counts()).toEqual({ total: 1000, running: 1 });
    await stopping;
    expect((await show(daemon, 'held')).state).toBe('stopped');
  });

  it('shows what a driver noted about a running VM', async () => {
    const daemon = await boot();
    const vm = await daemon.create({ name: 'devbox' });
    daemon.registry.note(vm.id, 'host disk full');
    expect((await show(daemon, 'devbox')).stateReason).toBe('host disk full');
    daemon.registry.note(vm.id, '');
    expect((await show(daemon, 'devbox')).stateReason).toBeUndefined();
  });
});

describe('methods', () => {
  it('are those that the issue names, each with an effect', async () => {
    const daemon = await boot();
    expect(Object.keys(daemon.service.methods).toSorted()).toEqual([
      'vm.console', 'vm.create', 'vm.create.begin', 'vm.create.cancel', 'vm.create.status', 'vm.delete',
      'vm.exec', 'vm.exec.detach', 'vm.exec.list', 'vm.exec.logs', 'vm.kill', 'vm.list', 'vm.logs', 'vm.pause', 'vm.plan',
      'vm.recover', 'vm.restart', 'vm.resume', 'vm.set', 'vm.show', 'vm.start', 'vm.stop',
    ]);
  });

  it('keep the console log of a VM that failed', async () => {
    const daemon = await boot();
    const vm = await daemon.create({ name: 'devbox' });
    const { files } = await daemon.call<{ files: string[] }>('vm.logs', { ref: 'devbox' });
    expect(files.every((file) => file.startsWith(daemon.paths.vmDir(vm.id)) && readFileSync(file).length >= 0)).toBe(true);
  });
});
