import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { frameKind } from '../api.ts';
import type { Step } from '../plugin-api.ts';
import { fakeDriverPlugins } from '../../test/support/fake-driver.ts';
import { StreamClient } from '../../test/support/stream-client.ts';
import { bootTestDaemon, makePeer, tempState } from '../../test/support/vm-fixture.ts';
import type { TestDaemon } from '../../test/support/vm-fixture.ts';
import { waitFor } from '../../test/support/wait.ts';

const boot = (): Promise<TestDaemon> => bootTestDaemon({ dir: tempState(), plugins: () => fakeDriverPlugins() });

async function exec(daemon: TestDaemon, command: readonly string[], stdin = false): Promise<StreamClient> {
  const peer = makePeer();
  expect(await daemon.call('vm.exec', { ref: 'devbox', command, stdin, env: { GREETING: 'hello' } }, { peer: peer.peer })).toEqual({ ticket: 'ticket-1' });
  const client = new StreamClient();
  peer.offers[0]?.(client.stream);
  return client;
}

describe('vm.exec', () => {
  it('sends both streams, then the exit code as the last frame', async () => {
    const daemon = await boot();
    await daemon.create({ name: 'devbox', env: { FROM_SPEC: 'spec' } });
    const client = await exec(daemon, ['sh', '-c', 'echo "$GREETING $FROM_SPEC"; echo oops >&2; exit 42']);
    expect(await client.exit()).toEqual({ code: 42 });
    expect([client.data(frameKind.stdout).toString(), client.data(frameKind.stderr).toString()]).toEqual(['hello spec\n', 'oops\n']);
  });

  it('waits for a daemon that has just come up and is still adopting the VM', async () => {
    const dir = tempState();
    const gate = Promise.withResolvers<void>();
    const order: string[] = [];
    const session: Step<null, null> = {
      name: 'fake.session', phase: 'ready', timeoutMs: 10_000, undoTimeoutMs: 10_000,
      plan: () => ({ data: null, makes: [] }), run: () => Promise.resolve(null), undo: () => Promise.resolve(),
      async adopt() { await gate.promise; order.push('adopted'); },
    };
    const plugins = () => fakeDriverPlugins({ steps: [session] });
    const first = await bootTestDaemon({ dir, plugins });
    await first.create({ name: 'devbox' });
    first.crash();
    const daemon = await bootTestDaemon({ dir, plugins });
    const recovered = daemon.service.start().finished;
    const client = await exec(daemon, ['true']);
    const exit = client.exit().then((value) => { order.push('ran'); return value; });
    // Meanwhile a command that does not wait would have run several times.
    for (let i = 0; i < 10; i += 1) await promisify(execFile)('true');
    gate.resolve();
    expect(await exit).toEqual({ code: 0 });
    await recovered;
    expect(order).toEqual(['adopted', 'ran']);
  });

  it('tells a death by signal, and that a program is missing', async () => {
    const daemon = await boot();
    await daemon.create({ name: 'devbox' });
    expect(await (await exec(daemon, ['sh', '-c', 'kill -KILL $$'])).exit()).toMatchObject({ signal: 'KILL' });
    expect(await (await exec(daemon, ['no-such-program'])).exit()).toEqual({ code: 127 });
  });

  it('pipes megabytes of stdin through whole', async () => {
    const daemon = await boot();
    await daemon.create({ name: 'devbox' });
    const client = await exec(daemon, ['sha256sum'], true);
    const data = randomBytes(4 * 1024 * 1024);
    for (let at = 0; at < data.length; at += 65_536) await client.send(frameKind.stdin, data.subarray(at, at + 65_536));
    await client.send(frameKind.stdin);
    expect(await client.exit()).toEqual({ code: 0 });
    expect(client.data(frameKind.stdout).toString()).toContain(createHash('sha256').update(data).digest('hex'));
  });

  it('does not hang on a program that never reads its stdin', async () => {
    const daemon = await boot();
    await daemon.create({ name: 'devbox' });
    const client = await exec(daemon, ['sh', '-c', 'exec <&-; sleep 0.2; exit 3'], true);
    const flood = (async () => { for (let i = 0; i < 64; i += 1) await client.send(frameKind.stdin, Buffer.alloc(65_536)); })();
    expect(await client.exit()).toEqual({ code: 3 });
    await flood;
  });

  it('passes signals on', async () => {
    const daemon = await boot();
    await daemon.create({ name: 'devbox' });
    const client = await exec(daemon, ['sleep', '3600']);
    await client.send(frameKind.signal, 'INT');
    expect(await client.exit()).toMatchObject({ signal: 'INT' });
  });

  it('hangs the command up when the client is gone', async () => {
    const daemon = await boot();
    await daemon.create({ name: 'devbox' });
    const client = await exec(daemon, ['sh', '-c', 'echo $$; exec sleep 3600']);
    await waitFor('its pid', () => client.data(frameKind.stdout).length > 0);
    const pid = Number(client.data(frameKind.stdout).toString());
    client.close();
    await waitFor('the end of the command', () => daemon.processes.identify(pid) === undefined);
  });

  it('refuses a VM that does not run', async () => {
    const daemon = await boot();
    await daemon.create({ name: 'devbox', start: false });
    await expect(daemon.call('vm.exec', { ref: 'devbox', command: ['true'], stdin: false })).rejects.toMatchObject({ code: 'not_running' });
  });
});
