// Commands that go on by themselves: the daemon's methods over the agent's real program, on the host.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { beforeAll, describe, expect, it } from 'vitest';
import { frameKind } from '../api.ts';
import type { KeptCommand } from '../api.ts';
import { createKeyedLock } from '../lock.ts';
import type { FrameStream, GuestProcess, Vm } from '../plugin-api.ts';
import { memoryLog } from '../../test/support/rpc-fixture.ts';
import { fakeDriverPlugins } from '../../test/support/fake-driver.ts';
import { repoRoot } from '../../test/support/source-tree.ts';
import { bootTestDaemon, makePeer, tempState } from '../../test/support/vm-fixture.ts';
import type { TestDaemon } from '../../test/support/vm-fixture.ts';
import { waitFor } from '../../test/support/wait.ts';
import type { VmContext } from './context.ts';
import { keptWithin, parseKept } from './exec-kept.ts';

const agent = join(repoRoot, 'dist/native/agent-asan');
beforeAll(() => {
  execFileSync('sh', [join(repoRoot, 'scripts/build-native.sh'), '--asan'], { cwd: repoRoot });
}, 120_000);

/** The agent's program, with a directory of the test's in place of the guest's. */
function builtin(vm: { readonly dir: string }, words: readonly string[]): readonly string[] {
  const dir = join(vm.dir, 'kept');
  mkdirSync(dir, { recursive: true });
  return [agent, words[0]!, '--dir', dir, ...words.slice(1)];
}

async function boot(dir = tempState()): Promise<TestDaemon> {
  return bootTestDaemon({ dir, plugins: () => fakeDriverPlugins({ builtin }) });
}
async function bootWithVm(): Promise<TestDaemon> {
  const daemon = await boot();
  await daemon.create({ name: 'devbox', env: { FROM_SPEC: 'spec' } });
  return daemon;
}
const detach = async (daemon: TestDaemon, command: readonly string[], more: object = {}): Promise<string> =>
  (await daemon.call<{ id: string }>('vm.exec.detach', { ref: 'devbox', command, ...more })).id;
const list = async (daemon: TestDaemon): Promise<readonly KeptCommand[]> =>
  (await daemon.call<{ commands: KeptCommand[] }>('vm.exec.list', { ref: 'devbox' })).commands;

async function logs(daemon: TestDaemon, id: string, follow: boolean): Promise<{ out: string; err: string; exit: unknown }> {
  const peer = makePeer();
  await daemon.call('vm.exec.logs', { ref: 'devbox', id, follow }, { peer: peer.peer });
  const frames: { kind: number; payload: Buffer }[] = [];
  let ended = false;
  const stream: FrameStream = {
    send: async (kind, payload) => { frames.push({ kind, payload: Buffer.from(payload) }); },
    onFrame: () => undefined, onClose: () => undefined, end: () => { ended = true; }, destroy: () => undefined,
  };
  peer.offers[0]?.(stream);
  await waitFor('the end of the stream', () => ended);
  const text = (kind: number): string => Buffer.concat(frames.filter((frame) => frame.kind === kind).map((frame) => frame.payload)).toString();
  return { out: text(frameKind.stdout), err: text(frameKind.stderr), exit: JSON.parse(text(frameKind.exit)) };
}

describe('vm.exec.detach', () => {
  it('answers an id, and output and exit are there afterwards, also for the next daemon', async () => {
    const dir = tempState();
    const first = await boot(dir);
    await first.create({ name: 'devbox', env: { FROM_SPEC: 'spec' } });
    const id = await detach(first, ['sh', '-c', 'echo "$FROM_SPEC $OWN"; echo oops >&2; exit 42'], { env: { OWN: 'own value' } });
    expect(id).toMatch(/^[0-9a-f]{12}$/);
    expect(await logs(first, id, true)).toEqual({ out: 'spec own value\n', err: 'oops\n', exit: { code: 42 } });
    first.crash();
    const second = await boot(dir);
    await second.service.start().finished;
    expect(await list(second)).toMatchObject([{ id, state: 'ended', exit: { code: 42 }, outputBytes: 20, droppedBytes: 0 }]);
    expect(await logs(second, id.slice(0, 5), false)).toEqual({ out: 'spec own value\n', err: 'oops\n', exit: { code: 0 } });
  });

  it('is listed as it runs, word by word', async () => {
    const daemon = await bootWithVm();
    const words = ['sh', '-c', 'read line < "$0"', join(tempState(), 'füfo'), '', '100%'];
    execFileSync('mkfifo', [words[3]!]);
    const id = await detach(daemon, words);
    const [running] = await list(daemon);
    expect(running).toMatchObject({ id, state: 'running', command: words });
    expect(running).not.toHaveProperty('exit');
    expect(existsSync(`/proc/${running!.pid}`)).toBe(true);
    execFileSync('sh', ['-c', 'echo go > "$0"', words[3]!]);
    expect((await logs(daemon, id, true)).exit).toEqual({ code: 0 });
    expect(await list(daemon)).toMatchObject([{ state: 'ended', exit: { code: 0 } }]);
  });

  it('says at once that a program is missing or cannot run, and keeps nothing of it', async () => {
    const daemon = await bootWithVm();
    await expect(detach(daemon, ['no-such-program'])).rejects.toMatchObject({ code: 'operation_failed', message: /no-such-program: not found/, detail: { exitCode: 127 } });
    await expect(detach(daemon, ['/etc/passwd'])).rejects.toMatchObject({ message: /Permission denied/, detail: { exitCode: 126 } });
    expect(await list(daemon)).toEqual([]);
  });

  it('tells a death by signal as a command of its own would', async () => {
    const daemon = await bootWithVm();
    const id = await detach(daemon, ['sh', '-c', 'kill -KILL $$']);
    expect((await logs(daemon, id, true)).exit).toMatchObject({ signal: 'KILL' });
    expect(await list(daemon)).toMatchObject([{ state: 'ended', exit: { signal: 'KILL', number: 9 } }]);
  });

  it('refuses an empty command, ids that are none, and VMs that do not run', async () => {
    const daemon = await bootWithVm();
    await expect(detach(daemon, [])).rejects.toThrow(/command/);
    await expect(daemon.call('vm.exec.logs', { ref: 'devbox', id: '../..' })).rejects.toThrow(/hex/);
    expect(await logs(daemon, 'abc', false)).toMatchObject({ err: 'banger: no kept command abc\n', exit: { code: 125 } });
    await daemon.call('vm.kill', { ref: 'devbox' });
    await expect(detach(daemon, ['true'])).rejects.toMatchObject({ code: 'not_running' });
    await expect(list(daemon)).rejects.toMatchObject({ code: 'not_running' });
  });
});

describe('parseKept', () => {
  it.each([
    '', 'nonsense', '../etc running 1 1 0 0 0 0 0 root sh', 'abc running x 1 0 0 0 0 0 root sh', 'abc running 1 1 0 0 0 0 0 ro\u001bot sh',
    'abc ended 1 99999999999999999999 0 0 0 0 0 root sh', 'abc running 1 1 0 0 0 0 0 root sh \u0007',
  ])('takes nothing from %j', (line) => {
    expect(parseKept(line)).toBeUndefined();
  });

  it('takes times beyond a calendar and a cut command as they are', () => {
    expect(parseKept('abc ended 1 999999999999999 999999999999999 0 0 0 0 root a%2')).toMatchObject({ command: ['a%2'], exit: { code: 0 } });
  });
});

it('keeps nothing of a guest that was given up: neither what it said nor what it goes on to say', async () => {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  stdout.write('x'.repeat(1_000));
  let isHungUp = false;
  const process: GuestProcess = {
    stdin: new PassThrough(), stdout, stderr, exit: new Promise(() => undefined), resize: () => undefined, signal: () => undefined, hangup: () => { isHungUp = true; },
  };
  const ctx = { locks: createKeyedLock(), agent: () => ({ exec: () => Promise.resolve(process) }), log: memoryLog([]), backgroundLimitMs: 20 } as unknown as VmContext;
  expect(await keptWithin(ctx, { id: 'a', name: 'devbox' } as Vm, { withinMs: 0, signal: new AbortController().signal })).toBe(true);
  expect([isHungUp, stdout.destroyed, stderr.destroyed]).toEqual([true, true, true]);
});
