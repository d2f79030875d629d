import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { VmRecoverResult, VmView } from '../api.ts';
import { definePlugin, operationFailed, VmRecovery, Vms } from '../plugin-api.ts';
import type { PluginDefinition, RecoveryContext, RecoveryFinding } from '../plugin-api.ts';
import { fakeDriverPlugins } from '../../test/support/fake-driver.ts';
import type { FakeDriverOptions } from '../../test/support/fake-driver.ts';
import { bootTestDaemon, tempState } from '../../test/support/vm-fixture.ts';
import type { TestDaemon } from '../../test/support/vm-fixture.ts';
import { waitFor } from '../../test/support/wait.ts';

type Provided = typeof VmRecovery extends { readonly __type?: infer T } ? NonNullable<T> : never;
const ok: RecoveryFinding = { subject: 'disk', state: 'ok', text: 'whole' };
const broken: RecoveryFinding = { subject: 'disk', state: 'broken', text: 'gone', hint: 'reset it' };

interface World { readonly calls: string[]; found: readonly RecoveryFinding[]; fixed: readonly RecoveryFinding[] | Error; context?: RecoveryContext }
const makeWorld = (): World => ({ calls: [], found: [ok], fixed: [ok] });

function keeper(world: World): PluginDefinition {
  const value: Provided = {
    resets: { disk: 'what is on it' },
    check: (_vm, ctx) => { world.calls.push('check'); world.context = ctx; return Promise.resolve(world.found); },
    repair: (_vm, { reset }) => {
      world.calls.push(`repair ${reset.join()}`);
      return world.fixed instanceof Error ? Promise.reject(world.fixed) : Promise.resolve(world.fixed);
    },
  };
  return definePlugin({
    name: 'keeper', version: '0.0.0', apiVersion: 1, summary: 'Keeps a disk.', provides: [VmRecovery], config: z.strictObject({}),
    setup: (ctx) => { ctx.provide(VmRecovery, value); },
  }) as unknown as PluginDefinition;
}
const boot = (world: World, fake: FakeDriverOptions = {}): Promise<TestDaemon> => bootTestDaemon({ dir: tempState(), plugins: () => [...fakeDriverPlugins(fake), keeper(world)] });
const recover = (daemon: TestDaemon, more: object = {}): Promise<VmRecoverResult> => daemon.call('vm.recover', { ref: 'devbox', ...more });
const show = async (daemon: TestDaemon): Promise<VmView> => (await daemon.call('vm.show', { ref: 'devbox' })).vm;

describe('recover', () => {
  it('looks at image, kernel and what plugins keep, and changes nothing of a VM that is fine', async () => {
    const world = makeWorld();
    const daemon = await boot(world);
    await daemon.create({ name: 'devbox' });
    await daemon.call('vm.stop', { ref: 'devbox' });
    const before = daemon.store.vms.getByName('devbox');
    for (const _ of [1, 2]) {
      const result = await recover(daemon);
      expect(result).toMatchObject({ startable: true, vm: { state: 'stopped' } });
      expect(result.findings.map(({ subject, state }) => `${subject} ${state}`)).toEqual(['image ok', 'kernel ok', 'disk ok']);
    }
    expect(world.calls).toEqual(['check', 'check']);
    expect(world.context?.made).toEqual(['fake.disk']);
    expect(daemon.store.vms.getByName('devbox')).toEqual(before);
  });

  it('refuses a running VM, and words that nothing answers to', async () => {
    const daemon = await boot(makeWorld());
    await daemon.create({ name: 'devbox' });
    await expect(recover(daemon)).rejects.toMatchObject({ code: 'wrong_state', message: 'VM devbox is running, not stopped' });
    await expect(recover(daemon, { reset: ['disk', 'all'] })).rejects.toMatchObject({
      code: 'bad_request', detail: { issues: [{ path: 'reset[1]', message: 'must be one of disk (loses what is on it), is "all"' }] },
    });
    expect((await show(daemon)).state).toBe('running');
  });

  it('finishes a teardown that failed, and then forgets the error', async () => {
    let fails = true;
    const daemon = await boot(makeWorld(), {
      steps: [{
        name: 'fake.stuck', phase: 'network', timeoutMs: 1_000, plan: () => ({ data: null, makes: [] }), run: () => Promise.resolve(null),
        undo: () => fails ? Promise.reject(operationFailed('it is stuck')) : Promise.resolve(),
      }],
    });
    await daemon.create({ name: 'devbox' });
    await expect(daemon.call('vm.stop', { ref: 'devbox' })).rejects.toMatchObject({ code: 'undo_failed' });
    expect(await recover(daemon)).toMatchObject({
      startable: false, vm: { state: 'error' }, findings: expect.arrayContaining([{ subject: 'teardown', state: 'broken', text: 'fake.stuck cannot be undone: it is stuck', hint: expect.any(String) as string }]) as unknown,
    });
    fails = false;
    expect(await recover(daemon)).toMatchObject({
      startable: true, vm: { state: 'stopped', end: { reason: 'stopped' } }, findings: expect.arrayContaining([{ subject: 'teardown', state: 'repaired', text: 'was not finished: undone now: fake.stuck' }]) as unknown,
    });
    expect((await show(daemon)).lastError).toBeUndefined();
  });

  it('says what keeps a VM from starting, lets a plugin repair, and makes anew only what it is asked to', async () => {
    const world = { ...makeWorld(), found: [broken], fixed: [broken] } as World;
    const daemon = await boot(world);
    await daemon.create({ name: 'devbox', start: false });
    expect(await recover(daemon)).toMatchObject({ startable: false, findings: [{}, {}, broken] });
    world.fixed = [{ ...ok, state: 'repaired' }];
    expect(await recover(daemon, { reset: ['disk'] })).toMatchObject({ startable: true });
    expect(world.calls).toEqual(['check', 'repair ', 'repair disk']);
  });

  it('calls what could not be looked at unknown, and a reset that failed broken', async () => {
    const world = { ...makeWorld(), found: [{ ...ok, state: 'damaged' }], fixed: new Error('no such thing') } as World;
    const daemon = await boot(world);
    await daemon.create({ name: 'devbox', start: false });
    expect(await recover(daemon)).toMatchObject({ startable: true, findings: [{}, {}, { subject: 'keeper', state: 'unknown' }] });
    expect(await recover(daemon, { reset: ['disk'] })).toMatchObject({ startable: false, findings: [{}, {}, { subject: 'keeper', state: 'broken' }] });
  });

  it('names an image that is gone, and how to get it back', async () => {
    const daemon = await boot(makeWorld());
    await daemon.create({ name: 'devbox', start: false });
    const { id, spec } = daemon.store.vms.getByName('devbox')!;
    daemon.store.vms.update(id, { spec: { ...spec, image: 'lost', kernel: 'lost' }, lastError: { code: 'start_failed', message: 'no' } });
    const result = await recover(daemon);
    expect(result).toMatchObject({ startable: false, vm: { state: 'error' } });
    expect(result.findings.slice(0, 2)).toMatchObject([
      { subject: 'image', state: 'broken', text: expect.stringMatching(/^fake \(lost\): /) as string, hint: expect.stringContaining('banger image pull fake') as string },
      { subject: 'kernel', state: 'broken', hint: expect.stringContaining('banger kernel pull') as string },
    ]);
  });
});

describe('how a VM ended', () => {
  const die = async (daemon: TestDaemon, tell: () => void): Promise<VmView> => {
    const { process: vmm, id } = await daemon.create({ name: 'devbox' });
    tell();
    process.kill(vmm!.pid, 'SIGKILL');
    daemon.registry.ended(id, 'unknown');
    await waitFor('the end to be settled', async () => (await show(daemon)).end !== undefined);
    return show(daemon);
  };

  it('is kept as its driver told it, bounded and escaped, over a crash of the daemon, until the next start', async () => {
    const dir = tempState();
    const plugins = (): PluginDefinition[] => fakeDriverPlugins();
    const first = await bootTestDaemon({ dir, plugins });
    first.service.start();
    const lines = ['it was \u001b[31mred\u202e', ...Array.from({ length: 40 }, (_, index) => `line ${index}${'x'.repeat(1000)}`)];
    const view = await die(first, () => first.registry.ended(first.store.vms.list()[0]!.id, 'guest-panic', { detail: lines, at: '2026-01-02T03:04:05Z' }));
    expect(view.stateReason).toBe('guest panic: it was \\u{1b}[31mred\\u{202e}');
    expect(view.end).toMatchObject({ reason: 'guest-panic', at: '2026-01-02T03:04:05.000Z' });
    expect(view.end?.detail).toHaveLength(32);
    expect(view.end?.detail?.at(-1)).toMatch(/^line 39x+$/);
    expect(Math.max(...view.end!.detail!.map((line) => line.length))).toBe(240);
    const { vms } = await first.call<{ vms: VmView[] }>('vm.list', {});
    expect(vms[0]?.end).toEqual({ reason: 'guest-panic', at: '2026-01-02T03:04:05.000Z' });
    first.crash();
    const second = await bootTestDaemon({ dir, plugins });
    expect(await show(second)).toEqual(view);
    await second.call('vm.start', { ref: 'devbox' });
    expect(await show(second)).not.toHaveProperty('end');
    await second.call('vm.kill', { ref: 'devbox' });
    expect(await show(second)).toMatchObject({ stateReason: 'killed', end: { reason: 'killed' } });
    expect((await show(second)).end).not.toHaveProperty('detail');
  });

  it('is what the first certain word was, and that the VMM died when there was none', async () => {
    const daemon = await boot(makeWorld());
    daemon.service.start();
    expect(await die(daemon, () => undefined)).toMatchObject({ stateReason: 'VMM died', end: { reason: 'vmm-died' } });
    await daemon.call('vm.start', { ref: 'devbox' });
    const { id, process: vmm } = await show(daemon);
    daemon.registry.ended(id, 'guest-poweroff');
    daemon.registry.ended(id, 'vmm-killed', { detail: ['SIGTERM'] });
    process.kill(vmm!.pid, 'SIGKILL');
    await waitFor('the end to be settled', async () => (await show(daemon)).end !== undefined);
    expect((await show(daemon)).stateReason).toBe('guest poweroff');
  });

  it('is not taken for a stop by a stop that finds the VM ended', async () => {
    // The watcher does not run: nobody has noticed yet.
    const daemon = await boot(makeWorld());
    for (const [tell, reason] of [[true, 'guest-panic'], [false, 'vmm-died']] as const) {
      const { id, process: vmm } = tell ? await daemon.create({ name: 'devbox' }) : (await daemon.call<{ vm: VmView }>('vm.start', { ref: 'devbox' })).vm;
      if (tell) daemon.registry.ended(id, 'guest-panic', { detail: ['Attempted to kill init!'] });
      process.kill(vmm!.pid, 'SIGKILL');
      await waitFor('the end of the VMM', () => !daemon.registry.isRunning(id));
      expect(await daemon.call('vm.stop', { ref: 'devbox' })).toMatchObject({ vm: { state: 'stopped', end: { reason } } });
      // Again there is nothing to end, and nothing to forget.
      expect(await daemon.call('vm.stop', { ref: 'devbox' })).toMatchObject({ vm: { state: 'stopped', end: { reason } } });
    }
  });

  it.each([['guest-panic', 'guest-panic'], ['guest-poweroff', 'stopped']] as const)('is not lost with a daemon that is killed while it clears up: %s is %s', async (told, reason) => {
    const dir = tempState();
    const entered = Promise.withResolvers<undefined>();
    const teller = (isStuck: boolean): PluginDefinition => definePlugin({
      name: 'teller', version: '0.0.0', apiVersion: 1, summary: 'Tells how VMs end.', requires: [Vms], config: z.strictObject({}),
      setup: (ctx) => {
        ctx.step({
          name: 'teller.end', phase: 'ready', timeoutMs: 10_000, undoTimeoutMs: 2_000, plan: () => ({ data: null, makes: [] }), run: () => Promise.resolve(null),
          async undo({ vm }) {
            ctx.use(Vms).ended(vm.id, told);
            entered.resolve(undefined);
            if (isStuck) await new Promise(() => undefined);
          },
        });
      },
    }) as unknown as PluginDefinition;
    const first = await bootTestDaemon({ dir, plugins: () => [...fakeDriverPlugins(), teller(true)] });
    first.service.start();
    const { process: vmm, id } = await first.create({ name: 'devbox' });
    process.kill(vmm!.pid, 'SIGKILL');
    first.registry.ended(id, 'unknown');
    await entered.promise;
    first.crash();
    const second = await bootTestDaemon({ dir, plugins: () => [...fakeDriverPlugins(), teller(false)] });
    await second.service.start().finished;
    expect(await show(second)).toMatchObject({ state: 'stopped', end: { reason } });
  });

  it('is in the error of a start whose VMM ended meanwhile, and on the VM', async () => {
    const daemon: TestDaemon = await boot(makeWorld(), {
      steps: [{
        name: 'fake.slow', phase: 'ready', timeoutMs: 60_000, plan: () => ({ data: null, makes: [] }), undo: ({ vm }) => {
          daemon.registry.ended(vm.id, 'guest-panic', { detail: ['VFS: Unable to mount root fs'] });
          return Promise.resolve();
        },
        run: ({ vm, signal }) => new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason as Error));
          for (const { process: { pid } } of daemon.processes.findByMark(`${vm.mark}/fake.vmm`)) process.kill(pid, 'SIGKILL');
        }),
      }],
    });
    await daemon.create({ name: 'devbox', start: false });
    await expect(daemon.call('vm.start', { ref: 'devbox' })).rejects.toMatchObject({ code: 'start_failed', message: expect.stringMatching(/ended by itself: guest panic: VFS: Unable to mount root fs \(step/) as string });
    expect(await show(daemon)).toMatchObject({ state: 'error', end: { reason: 'guest-panic', detail: ['VFS: Unable to mount root fs'] } });
  });
});
