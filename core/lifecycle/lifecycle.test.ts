import { existsSync, readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { operationFailed } from '../errors.ts';
import { fakeDriverPlugins } from '../../test/support/fake-driver.ts';
import type { FakeDriverOptions } from '../../test/support/fake-driver.ts';
import { bootTestDaemon, tempState } from '../../test/support/vm-fixture.ts';
import type { TestDaemon } from '../../test/support/vm-fixture.ts';
import { waitFor } from '../../test/support/wait.ts';
import type { FaultPoint, FaultPoints } from './faults.ts';

const steps = ['fake.check', 'fake.disk', 'fake.initrd', 'fake.netns', 'fake.vmm', 'fake.ready', 'fake.publish'];
const points: readonly FaultPoint[] = ['plan-written', 'run-entered', 'host-touched', 'run-returned', 'handle-written'];

interface Log { readonly calls: string[]; readonly options: FakeDriverOptions }
function recorder(more: FakeDriverOptions = {}): Log {
  const calls: string[] = [];
  return { calls, options: { ...more, onCall: ({ kind, step }) => { calls.push(`${kind} ${step}`); } } };
}

const boot = (dir: string, options: { readonly fake?: FakeDriverOptions; readonly faults?: FaultPoints } = {}): Promise<TestDaemon> =>
  bootTestDaemon({ dir, plugins: () => fakeDriverPlugins(options.fake), ...(options.faults === undefined ? {} : { faults: options.faults }) });

function throwAt(point: FaultPoint, step: string, times = 1): FaultPoints {
  let left = times;
  return {
    at: (here, name) => {
      if (here !== point || name !== step || left === 0) return;
      left -= 1;
      throw operationFailed(`injected fault at ${point} of ${step}`);
    },
  };
}

/** The daemon stands still there for ever, which is what being killed looks like to everything outside it. */
function standAt(point: FaultPoint, step: string): FaultPoints & { readonly reached: Promise<void> } {
  const reached = Promise.withResolvers<void>();
  return {
    reached: reached.promise,
    at: (here, name) => {
      if (here !== point || name !== step) return undefined;
      reached.resolve();
      return new Promise<never>(() => undefined);
    },
  };
}

/** Files of VMs, without logs, and without the disk where it may stay. */
function filesOf(daemon: TestDaemon): string[] {
  return readdirSync(daemon.paths.vmsDir, { recursive: true, encoding: 'utf8' }).filter((path) => path.includes('/') && !path.includes('console'));
}

function expectNothingLeft(daemon: TestDaemon): void {
  expect(daemon.store.ledger.count()).toBe(0);
  expect(daemon.processes.findByMark(`${daemon.store.installId}/`, { prefix: true })).toEqual([]);
  expect(filesOf(daemon)).toEqual([]);
}

it('knows every step of the driver', async () => {
  const daemon = await boot(tempState());
  expect(daemon.host.registrations.steps.map(({ step }) => step.name)).toEqual(steps);
});

describe('a start that fails', () => {
  it.each(steps)('undoes in reverse what it began, %s included, and a retry works', async (step) => {
    const log = recorder();
    const daemon = await boot(tempState(), { fake: log.options, faults: throwAt('host-touched', step) });
    const error = await daemon.create({ name: 'devbox' }).then(() => undefined, (thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'start_failed', detail: { step, plugin: 'fake' }, cause: { message: `injected fault at host-touched of ${step}` },
    });
    const began = steps.slice(0, steps.indexOf(step) + 1);
    expect(log.calls).toEqual([...began.map((name) => `run ${name}`), ...began.toReversed().map((name) => `undo ${name}`)]);
    expectNothingLeft(daemon);
    expect(await daemon.service.leaks()).toEqual({ leaks: [], undoFailed: [] });
    const { vm } = await daemon.call('vm.show', { ref: 'devbox' });
    expect(vm).toMatchObject({ state: 'error', lastError: { code: 'start_failed' } });
    expect((await daemon.call('vm.start', { ref: 'devbox' })).vm.state).toBe('running');
  });

  it('keeps the cause and attaches what could not be undone; the other undos still run', async () => {
    const log = recorder();
    const failing: FaultPoints = {
      at: (point, step) => {
        if (point === 'undo-entered' && step === 'fake.netns') throw operationFailed('the namespace is busy');
        if (point === 'run-returned' && step === 'fake.vmm') throw operationFailed('no such firmware');
      },
    };
    const daemon = await boot(tempState(), { fake: log.options, faults: failing });
    await expect(daemon.create({ name: 'devbox' })).rejects.toMatchObject({
      code: 'start_failed', message: expect.stringContaining('no such firmware') as string,
      detail: { step: 'fake.vmm', undo: [{ step: 'fake.netns', code: 'operation_failed', message: 'the namespace is busy' }] },
    });
    expect(log.calls.filter((call) => call.startsWith('undo'))).toEqual(['undo fake.vmm', 'undo fake.initrd', 'undo fake.disk', 'undo fake.check']);
    expect(await daemon.service.leaks()).toEqual({
      leaks: [], undoFailed: [{ vm: 'devbox', step: 'fake.netns', error: 'the namespace is busy' }],
    });
  });

  it('keeps what earlier starts made', async () => {
    const daemon = await boot(tempState(), { faults: throwAt('host-touched', 'fake.vmm') });
    await expect(daemon.create({ name: 'devbox' })).rejects.toMatchObject({ code: 'start_failed' });
    await daemon.call('vm.start', { ref: 'devbox' });
    await daemon.call('vm.stop', { ref: 'devbox' });
    expect(filesOf(daemon).map((path) => path.split('/')[1])).toEqual(['disk.raw']);
  });

  it('names what it waited for when a deadline passes, and undoes the step that did not end', async () => {
    const undone: string[] = [];
    const daemon = await boot(tempState(), {
      fake: {
        steps: [{
          name: 'fake.hang', phase: 'ready', timeoutMs: 50, plan: () => ({ data: null, makes: [] }),
          run: ({ waitingFor, vm, signal }) => new Promise((_, reject) => {
            waitingFor(`guest agent of ${vm.name}`);
            signal.addEventListener('abort', () => reject(new Error('told to end')));
          }),
          undo: async () => { undone.push('fake.hang'); },
        }],
      },
    });
    await expect(daemon.create({ name: 'devbox' })).rejects.toMatchObject({
      code: 'start_failed', cause: { code: 'timeout', message: 'Gave up waiting for guest agent of devbox after 0.1 s (fake.hang)' },
    });
    expect(undone).toEqual(['fake.hang']);
    expectNothingLeft(daemon);
  });

  it('ends early when the VMM dies while a later step waits', async () => {
    const daemon = await boot(tempState(), {
      fake: {
        steps: [{
          name: 'fake.wait', phase: 'ready', timeoutMs: 60_000, plan: ({ vm }) => ({ data: vm.mark, makes: [] }),
          run: ({ signal }, mark) => new Promise((_, reject) => {
            for (const { process: { pid } } of daemon.processes.findByMark(`${String(mark)}/fake.vmm`)) process.kill(pid, 'SIGKILL');
            signal.addEventListener('abort', () => reject(new Error('told to end')));
          }),
        }],
      },
    });
    await expect(daemon.create({ name: 'devbox' })).rejects.toMatchObject({ cause: { message: 'The VMM of VM devbox ended by itself' } });
    expectNothingLeft(daemon);
  });

  it('undoes everything when it is cancelled, and the VM created with it goes', async () => {
    const control = new AbortController();
    const daemon = await boot(tempState(), { faults: { at: (point, step) => { if (point === 'run-returned' && step === 'fake.netns') control.abort(operationFailed('enough')); } } });
    await expect(daemon.create({ name: 'devbox' }, { signal: control.signal })).rejects.toMatchObject({ code: 'cancelled' });
    expectNothingLeft(daemon);
    expect(daemon.store.vms.list()).toEqual([]);
    expect(daemon.operations.list().at(-1)).toMatchObject({ kind: 'vm.create', subject: 'devbox', state: 'cancelled', done: true });
  });
});

describe('an undo that fails', () => {
  it.each(steps)('of %s leaves its row, and reclaim clears it', async (step) => {
    const daemon = await boot(tempState(), { faults: throwAt('undo-entered', step) });
    await daemon.create({ name: 'devbox' });
    await expect(daemon.call('vm.delete', { ref: 'devbox' })).rejects.toMatchObject({ code: 'undo_failed', detail: { undo: [{ step }] } });
    expect((await daemon.service.leaks()).undoFailed).toEqual([expect.objectContaining({ vm: 'devbox', step })]);
    expect((await daemon.call('vm.show', { ref: 'devbox' })).vm.state).toBe('error');
    await expect(daemon.call('vm.start', { ref: 'devbox' })).rejects.toMatchObject({ code: 'wrong_state' });
    const result = await daemon.service.reclaim({ opId: 'op-1', signal: new AbortController().signal, log: daemonLog });
    expect(result).toEqual({ removed: [`${step} of devbox`], failed: [] });
    expectNothingLeft(daemon);
    expect(daemon.store.vms.list()).toEqual([]);
  });

  it('is retried by the next start', async () => {
    const daemon = await boot(tempState(), { faults: throwAt('undo-entered', 'fake.netns') });
    await daemon.create({ name: 'devbox' });
    await expect(daemon.call('vm.stop', { ref: 'devbox' })).rejects.toMatchObject({ code: 'undo_failed' });
    expect((await daemon.call('vm.start', { ref: 'devbox' })).vm.state).toBe('running');
    expect((await daemon.service.leaks()).undoFailed).toEqual([]);
  });

  it('is retried when the daemon starts again', async () => {
    const dir = tempState();
    const first = await boot(dir, { faults: throwAt('undo-entered', 'fake.netns') });
    await first.create({ name: 'devbox' });
    await expect(first.call('vm.stop', { ref: 'devbox' })).rejects.toMatchObject({ code: 'undo_failed' });
    first.crash();
    const second = await boot(dir);
    await second.service.start().finished;
    expect(await second.service.leaks()).toEqual({ leaks: [], undoFailed: [] });
  });
});

describe('a daemon that dies', () => {
  const cases = steps.flatMap((step) => points.map((point) => [step, point] as const));
  it.each(cases)('in %s at %s: the start is undone and a retry works', async (step, point) => {
    const dir = tempState();
    const stand = standAt(point, step);
    const first = await boot(dir, { faults: stand });
    void first.create({ name: 'devbox' }).catch(() => undefined);
    await stand.reached;
    first.crash();
    const second = await boot(dir);
    const report = await second.service.start().finished;
    expect(report).toMatchObject({ rolledBack: ['devbox'], problems: [] });
    expectNothingLeft(second);
    expect(await second.service.leaks()).toEqual({ leaks: [], undoFailed: [] });
    const { vm } = await second.call('vm.show', { ref: 'devbox' });
    expect(vm).toMatchObject({ state: 'error', lastError: { message: expect.stringContaining('interrupted') as string } });
    expect(second.operations.list().at(0)).toMatchObject({ kind: 'vm.create', state: 'failed', error: { message: expect.stringContaining('interrupted') as string } });
    expect((await second.call('vm.start', { ref: 'devbox' })).vm.state).toBe('running');
  });

  it.each(steps)('in the undo of %s during a stop: the stop is finished', async (step) => {
    const dir = tempState();
    const stand = standAt('undo-entered', step);
    const first = await boot(dir, { faults: stand });
    await first.create({ name: 'devbox' });
    void first.call(step === 'fake.disk' ? 'vm.delete' : 'vm.stop', { ref: 'devbox' }).catch(() => undefined);
    await stand.reached;
    first.crash();
    const second = await boot(dir);
    const report = await second.service.start().finished;
    expect(step === 'fake.disk' ? report.deleted : report.stopped).toEqual(['devbox']);
    expect(second.store.ledger.byState('undoing')).toEqual([]);
    expect((await second.service.leaks()).leaks).toEqual([]);
    expect(second.store.vms.list().map(({ name }) => name)).toEqual(step === 'fake.disk' ? [] : ['devbox']);
  });

  it('with a running VM: the next one adopts it', async () => {
    const dir = tempState();
    const first = await boot(dir);
    const before = await first.create({ name: 'devbox' });
    first.crash();
    const log = recorder();
    const second = await boot(dir, { fake: log.options });
    expect((await second.service.start().finished).adopted).toEqual(['devbox']);
    const { vm } = await second.call('vm.show', { ref: 'devbox' });
    expect(vm).toMatchObject({ state: 'running', process: before.process });
    expect(log.calls).toEqual(['adopt fake.netns', 'adopt fake.vmm', 'adopt fake.publish']);
    expect(existsSync(second.paths.socketPath(vm.id, 'publish'))).toBe(true);
  });

  it('with a VM whose VMM dies meanwhile: its run is undone, its disk stays', async () => {
    const dir = tempState();
    const first = await boot(dir);
    const vm = await first.create({ name: 'devbox' });
    first.crash();
    process.kill(vm.process?.pid ?? 0, 'SIGKILL');
    await waitFor('the VMM to be gone', () => first.processes.identify(vm.process?.pid ?? 0) === undefined);
    const second = await boot(dir);
    expect((await second.service.start().finished).stopped).toEqual(['devbox']);
    expect((await second.call('vm.show', { ref: 'devbox' })).vm).toMatchObject({ state: 'stopped', stateReason: 'ended while no daemon ran' });
    expect(filesOf(second).map((path) => path.split('/')[1])).toEqual(['disk.raw']);
  });

  it('deletes VMs with a lease, whose clients cannot come back', async () => {
    const dir = tempState();
    const first = await boot(dir);
    await first.create({ name: 'leased', lease: true });
    first.crash();
    const second = await boot(dir);
    expect((await second.service.start().finished).deleted).toEqual(['leased']);
    expectNothingLeft(second);
    expect(readdirSync(second.paths.vmsDir)).toEqual([]);
  });
});

describe('leaks', () => {
  it('are what bears our mark without a ledger row, and reclaim removes them', async () => {
    const dir = tempState();
    const first = await boot(dir);
    const vm = await first.create({ name: 'devbox' });
    // As if the database had been moved aside and restored from before the VM: its rows are gone, the host's objects are not.
    for (const row of first.store.ledger.byOwner(`vm:${vm.id}`)) first.store.ledger.delete(row.seq);
    first.store.vms.delete(vm.id);
    const report = await first.service.leaks();
    expect(new Set(report.leaks.map(({ kind, step }) => `${kind} ${step}`))).toEqual(new Set([
      'process fake.netns', 'process fake.vmm', 'directory core.vm-directory', 'file fake.check', 'file fake.disk', 'file fake.initrd',
      'file fake.ready', 'file fake.publish',
    ]));
    const { failed } = await first.service.reclaim({ opId: 'op-1', signal: new AbortController().signal, log: daemonLog });
    expect(failed).toEqual([]);
    expect(await first.service.leaks()).toEqual({ leaks: [], undoFailed: [] });
    expect(readdirSync(first.paths.vmsDir)).toEqual([]);
  });

  it('are not what a start is making right now', async () => {
    const stand = standAt('host-touched', 'fake.vmm');
    const daemon = await boot(tempState(), { faults: stand });
    void daemon.create({ name: 'devbox' }).catch(() => undefined);
    await stand.reached;
    expect((await daemon.service.leaks()).leaks).toEqual([]);
    await waitFor('the list to show it', async () => (await daemon.call('vm.show', { ref: 'devbox' })).vm.state === 'starting');
  });
});

const daemonLog = { debug() {}, info() {}, warn() {}, error() {}, child: () => daemonLog };
