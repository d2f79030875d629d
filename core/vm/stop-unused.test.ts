import { execFileSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { VmTeardown as Teardown } from '../capabilities.ts';
import { VmTeardown } from '../capabilities.ts';
import { createManualClock } from '../clock.ts';
import { fakeDriverPlugins } from '../../test/support/fake-driver.ts';
import { bootTestDaemon, tempState } from '../../test/support/vm-fixture.ts';
import type { TestDaemon } from '../../test/support/vm-fixture.ts';
import { createTeardown } from './stop-unused.ts';

const hourMs = 3_600_000;
const line = (state: string, endedMs = 2000): string => `abc ${state} 12 1000 ${endedMs} 0 0 0 0 root make`;

/** A VM that nobody has used for an hour; `guest` is what its agent answers when asked for detached commands, by a shell of the host. */
async function unusedVm(guest: { script: string }, backgroundLimitMs = 300): Promise<{ daemon: TestDaemon; id: string; stop(unusedForMs?: number, signal?: AbortSignal): ReturnType<Teardown['stopUnused']> }> {
  const clock = createManualClock(Date.now());
  const builtin = (_vm: unknown, words: readonly string[]): readonly string[] => ['/bin/sh', '-c', guest.script, ...words];
  const daemon = await bootTestDaemon({ dir: tempState(), plugins: () => fakeDriverPlugins({ builtin }), clock, backgroundLimitMs });
  const { id } = await daemon.create({ name: 'devbox' });
  clock.advance(hourMs);
  const teardown = daemon.host.capability(VmTeardown)!;
  return {
    daemon, id, stop: (unusedForMs = hourMs, signal = new AbortController().signal) => teardown.stopUnused(id, { unusedForMs, signal }),
  };
}
const state = async (daemon: TestDaemon): Promise<string> => (await daemon.call('vm.show', { ref: 'devbox' })).vm.state;

it('stops a VM that nobody uses, whatever detached commands have ended in it, and then says that it does not run', async () => {
  const { daemon, stop } = await unusedVm({ script: `echo '${line('ended')}'; echo '${line('lost')}'` });
  expect(await stop(hourMs + 1)).toBe('in use');
  expect(await stop()).toBe('stopped');
  expect((await daemon.call('vm.show', { ref: 'devbox' })).vm).toMatchObject({ state: 'stopped', stateReason: 'unused for 60 min', end: { reason: 'unused' } });
  expect(await stop()).toBe('not running');
  await daemon.call('vm.delete', { ref: 'devbox' });
  expect(await stop()).toBe('not running');
});

it('counts the end of a detached command as a use, unless the guest says that it lies far ahead', async () => {
  const guest = { script: '' };
  const { stop } = await unusedVm(guest);
  const now = Date.now() + hourMs;
  guest.script = `echo '${line('ended', now - hourMs / 2)}'`;
  expect(await stop()).toBe('in use');
  guest.script = `echo '${line('ended', now - 2 * hourMs)}'; echo '${line('ended', now + 2 * hourMs)}'`;
  expect(await stop()).toBe('stopped');
});

it('leaves a VM alone that was touched, is held, or is in the hands of another verb', async () => {
  const { daemon, id, stop } = await unusedVm({ script: 'exit 0' });
  const unlock = await daemon.locks.acquire(id, { holder: 'vm.set' });
  expect(await stop()).toBe('in use');
  unlock();
  const release = daemon.use.hold(id, 'ssh session');
  expect(await stop(0)).toBe('in use');
  release();
  expect(await stop(1)).toBe('in use');
  expect(await stop(0)).toBe('stopped');
});

it.each([
  ['a detached command runs', `echo '${line('ended')}'; echo '${line('running')}'`],
  ['the guest cannot say', 'echo no such program >&2; exit 127'],
  ['the guest is frozen', 'exec sleep 600'],
  ['the guest never comes to an end', 'while :; do echo x; done'],
])('is in use where %s', async (_, script) => {
  const { daemon, id, stop } = await unusedVm({ script });
  expect(await stop()).toBe('in use');
  expect([await state(daemon), daemon.locks.holder(id)]).toEqual(['running', undefined]);
});

it('is in use while paused: the guest cannot say what it runs', async () => {
  const { daemon, stop } = await unusedVm({ script: 'exit 0' });
  await daemon.call('vm.pause', { ref: 'devbox' });
  expect(await stop(0)).toBe('in use');
  expect(await state(daemon)).toBe('paused');
});

it('asks without the lock, and what comes meanwhile counts', async () => {
  const dir = tempState();
  execFileSync('mkfifo', [join(dir, 'asked'), join(dir, 'answer')]);
  const { daemon, stop } = await unusedVm({ script: `echo > ${dir}/asked; cat ${dir}/answer` }, 60_000);
  const asking = stop();
  await readFile(join(dir, 'asked'));
  // Gets the lock while the guest is asked.
  await daemon.call('vm.set', { ref: 'devbox', vcpu: 1 });
  await writeFile(join(dir, 'answer'), '');
  expect(await asking).toBe('in use');
});

it('is given up with its signal', async () => {
  const { stop } = await unusedVm({ script: 'exec sleep 600' });
  const control = new AbortController();
  const asking = stop(hourMs, control.signal);
  control.abort();
  await expect(asking).rejects.toMatchObject({ code: 'cancelled' });
});

it('stops nothing before the service is there', async () => {
  const teardown = createTeardown();
  expect(await teardown.stopUnused('a', { unusedForMs: 0, signal: new AbortController().signal })).toBe('in use');
});
