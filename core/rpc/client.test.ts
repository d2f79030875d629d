import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { method, startRpc } from '../../test/support/rpc-fixture.ts';
import { waitFor } from '../../test/support/wait.ts';
import { BangerError } from '../errors.ts';
import type { ProgressNotice } from '../api.ts';
import type { CallContext } from '../plugin-api.ts';
import { attach, connect } from './client.ts';

/** A daemon that says what the test wants. */
async function fakeDaemon(onConnection: (socket: Socket) => void): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'banger-rpc-'));
  const path = join(dir, 's');
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    onConnection(socket);
  }).listen(path);
  await once(server, 'listening');
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
    await rm(dir, { recursive: true });
  });
  return path;
}

const untilAborted = (onStart: () => void): ReturnType<typeof method> => method((_params, call: CallContext) => new Promise((_resolve, reject) => {
  call.signal.addEventListener('abort', () => reject(call.signal.reason as Error));
  onStart();
}), { effect: 'write' });

describe('calls', () => {
  test('made in one turn leave in one write and are answered each', async () => {
    const chunks: string[] = [];
    const path = await fakeDaemon((socket) => socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk.toString());
      for (const line of chunk.toString().trim().split('\n')) {
        const { id, method: name } = JSON.parse(line) as { id: number; method: string };
        socket.write(`${JSON.stringify({ jsonrpc: '2.0', id, result: { name } })}\n`);
      }
    }));
    const client = await connect(path);
    const [hello, list] = await Promise.all([client.call('rpc.hello', { protocol: '1.0', build: 'x' }), client.call('vm.list', {})]);
    expect([hello, list]).toEqual([{ name: 'rpc.hello' }, { name: 'vm.list' }]);
    expect(chunks).toHaveLength(1);
    client.close();
  });

  test('may overlap and end in any order', async () => {
    const gates = [Promise.withResolvers<object>(), Promise.withResolvers<object>()] as const;
    const { connect: open } = await startRpc({ 'test.wait': method(({ value }: { value?: unknown }) => gates[value as 0 | 1].promise) });
    const client = await open();
    const order: number[] = [];
    const calls = [0, 1].map((value) => client.callAny('test.wait', { value }).then(() => order.push(value)));
    gates[1].resolve({});
    await calls[1];
    gates[0].resolve({});
    await calls[0];
    expect(order).toEqual([1, 0]);
  });

  test('fail with code, message, hint, detail and op id of the daemon', async () => {
    const { connect: open } = await startRpc({
      'test.fail': method(() => { throw new BangerError('nat.no_bridge', 'No bridge', { hint: 'make one', detail: { bridge: 'br0' } }); }),
    });
    const error = await (await open()).callAny('test.fail', {}).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(BangerError);
    expect(error).toMatchObject({ code: 'nat.no_bridge', message: 'No bridge', hint: 'make one', detail: { bridge: 'br0', opId: expect.stringMatching(/^op-/) as string } });
  });

  test('of unknown methods and with bad params fail with a word of ours', async () => {
    const { connect: open } = await startRpc();
    const client = await open();
    await expect(client.callAny('no.such', {})).rejects.toMatchObject({ code: 'unknown_method' });
    await expect(client.callAny('ping', { nonsense: 1 })).rejects.toMatchObject({ code: 'bad_request', detail: { issues: [{ path: '' }] } });
  });

  test('hear the progress that is theirs', async () => {
    const { connect: open } = await startRpc({
      'test.steps': method(({ value }: { value?: unknown }, call: CallContext) => {
        call.stage(`first ${String(value)}`);
        call.stage('second', 'of two');
        return {};
      }),
    });
    const client = await open();
    const heard: [ProgressNotice[], ProgressNotice[]] = [[], []];
    await Promise.all([0, 1].map((value) => client.callAny('test.steps', { value }, { onProgress: (notice) => heard[value as 0 | 1].push(notice) })));
    expect(heard[0].map(({ stage, detail }) => [stage, detail])).toEqual([['first 0', undefined], ['second', 'of two']]);
    expect(heard[1].map(({ stage }) => stage)).toEqual(['first 1', 'second']);
    expect(heard[0][0]?.opId).not.toBe(heard[1][0]?.opId);
  });
});

test('a progress listener that throws fails its own call only', async () => {
  const { connect: open } = await startRpc({ 'test.steps': method((_params, call: CallContext) => (call.stage('one'), {})) });
  const client = await open();
  const [failed, fine] = await Promise.allSettled([
    client.callAny('test.steps', {}, { onProgress: () => { throw new Error('mine'); } }), client.callAny('test.steps', {})]);
  expect(failed).toMatchObject({ status: 'rejected', reason: { message: 'mine' } });
  expect(fine).toMatchObject({ status: 'fulfilled' });
});

describe('cancelling', () => {
  test('by signal asks the daemon and ends with its answer', async () => {
    const started = Promise.withResolvers<void>();
    const { connect: open } = await startRpc({ 'test.wait': untilAborted(started.resolve) });
    const client = await open();
    const abort = new AbortController();
    const call = client.callAny('test.wait', {}, { signal: abort.signal });
    await started.promise;
    abort.abort();
    await expect(call).rejects.toMatchObject({ code: 'cancelled', detail: { opId: expect.stringMatching(/^op-/) as string } });
    expect(await client.callAny('ping', {})).toEqual({ pong: true });
  });

  test('by a signal that is aborted already sends nothing', async () => {
    let calls = 0;
    const { connect: open } = await startRpc({ 'test.count': method(() => ({ calls: calls += 1 })) });
    const client = await open();
    await expect(client.callAny('test.count', {}, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'cancelled' });
    expect(await client.callAny('test.count', {})).toEqual({ calls: 1 });
  });

  test('by time limit fails with `timeout` naming the method, and cancels in the daemon', async () => {
    const { connect: open, server } = await startRpc({ 'test.wait': untilAborted(() => {}) });
    const client = await open();
    await expect(client.callAny('test.wait', {}, { timeoutMs: 20 })).rejects.toMatchObject({ code: 'timeout', message: expect.stringContaining('test.wait') as string });
    await waitFor('the call to end', () => server.stats().calls === 0);
    expect(await client.callAny('ping', {})).toEqual({ pong: true });
  });
});

describe('a lost daemon', () => {
  test('is told when nobody listens, with the reason', async () => {
    await expect(connect('/nonexistent/socket')).rejects.toMatchObject({ code: 'daemon_unreachable', detail: { reason: 'ENOENT' } });
    await expect(attach('/nonexistent/socket', 't')).rejects.toMatchObject({ code: 'daemon_unreachable' });
  });

  test('fails the calls that wait and those to come, and tells the listeners once', async () => {
    const { connect: open, server } = await startRpc({ 'test.stuck': method(() => new Promise(() => {})) }, { limits: { closeMs: 10 } });
    const client = await open();
    let told = 0;
    client.onClose(() => { told += 1; });
    const stop = client.onClose(() => { told += 100; });
    stop();
    const calls = Promise.allSettled([client.callAny('test.stuck', {}), client.callAny('test.stuck', {}, { signal: new AbortController().signal })]);
    await waitFor('both calls', () => server.stats().calls === 2);
    await server.close();
    for (const result of await calls) expect(result).toMatchObject({ status: 'rejected', reason: { code: 'daemon_unreachable' } });
    await expect(client.callAny('ping', {})).rejects.toMatchObject({ code: 'daemon_unreachable' });
    client.onClose(() => { told += 1; });
    await waitFor('both listeners', () => told === 2);
  });

  test.each([['garbage', 'hello?\n'], ['a document that is no message', 'null\n'], ['bytes that are no text', Buffer.from([0xff, 0x0a])]])(
    'is what %s counts as', async (_name, answer) => {
      const path = await fakeDaemon((socket) => socket.once('data', () => socket.write(answer)));
      const client = await connect(path);
      await expect(client.call('ping', {})).rejects.toMatchObject({ code: 'daemon_unreachable' });
    });

  test('that refuses the connection gives its reason to every call', async () => {
    const { connect: open } = await startRpc({}, { limits: { maxConnections: 1 } });
    await open();
    const extra = await open();
    await expect(extra.call('ping', {})).rejects.toMatchObject({ code: 'busy' });
  });

  test('cannot be reached through a closed client', async () => {
    const { connect: open, server } = await startRpc({ 'test.stuck': method(() => new Promise(() => {})) }, { limits: { closeMs: 10 } });
    const client = await open();
    const call = client.callAny('test.stuck', {});
    client.close();
    await expect(call).rejects.toMatchObject({ code: 'daemon_unreachable' });
    await waitFor('the server to forget it', () => server.clients() === 0);
  });

  test('hears a call that was made right before the close', async () => {
    const heard: unknown[] = [];
    const { connect: open } = await startRpc({ 'test.note': method(({ value }: { value?: unknown }) => (heard.push(value), {}), { effect: 'write' }) });
    const client = await open();
    client.callAny('test.note', { value: 7 }).catch(() => {});
    client.close();
    await waitFor('the call', () => heard.length === 1);
    expect(heard).toEqual([7]);
  });
});
