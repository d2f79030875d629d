import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import { method, startRpc } from '../../test/support/rpc-fixture.ts';
import { waitFor } from '../../test/support/wait.ts';
import type { CallContext } from '../plugin-api.ts';

const pingLine = (id: number | string): string => `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"method":"ping"}\n`;
const mebibyte = 1024 * 1024;

describe('a bad client', () => {
  test('gets an error for each broken line and may go on', async () => {
    const { raw } = await startRpc();
    const client = await raw();
    client.send('GET / HTTP/1.1\n{"jsonrpc":"2.0","id":1}\n\n\n');
    client.send(Buffer.concat([Buffer.from([0xff, 0xfe, 0x00]), Buffer.from('\n'), Buffer.from(pingLine(2))]));
    await waitFor('four replies', () => client.replies.length === 4);
    expect(client.replies.map((reply) => [reply.id, reply.error?.code, reply.error?.data.code])).toEqual([
      [null, -32700, 'bad_request'], [1, -32600, 'bad_request'], [null, -32700, 'bad_request'], [2, undefined, undefined],
    ]);
  });

  test('is let go after too many broken lines', async () => {
    const { raw, server } = await startRpc({}, { limits: { maxFaults: 3 } });
    const client = await raw();
    client.send('x\n'.repeat(1000));
    await client.untilEnded();
    expect(client.replies).toHaveLength(4);
    await waitFor('the server to forget it', () => server.clients() === 0);
  });

  test('with a line of 100 MB is refused while others are answered, and nothing of it is kept', async () => {
    const { raw, server } = await startRpc();
    const bad = await raw();
    const good = await raw();
    const chunk = Buffer.alloc(mebibyte, 'x');
    let most = 0;
    bad.send('{"jsonrpc":"2.0","id":1,"method":"ping","params":{"value":"');
    for (let sent = 0; sent < 100; sent += 1) {
      if (!bad.socket.destroyed && !bad.socket.write(chunk)) await Promise.race([once(bad.socket, 'drain'), once(bad.socket, 'close')]);
      expect(await good.ask('ping')).toMatchObject({ result: { pong: true } });
      most = Math.max(most, server.stats().bufferedInputBytes);
    }
    await bad.untilEnded();
    expect(bad.replies).toHaveLength(1);
    expect(bad.replies[0]).toMatchObject({ id: null, error: { code: -32600, data: { code: 'bad_request' } } });
    expect(most).toBeLessThanOrEqual(4 * mebibyte + 64 * 1024);
    await waitFor('an empty server', () => server.stats().bufferedInputBytes === 0);
    expect(await good.ask('ping')).toMatchObject({ result: { pong: true } });
  });

  test('that goes on sending after a refusal is cut', async () => {
    const { raw, server } = await startRpc({}, { limits: { maxLineBytes: 1000, drainMs: 1, sweepMs: 10 } });
    const client = await raw();
    client.socket.on('end', () => {}); // keeps its own side open
    client.send('x'.repeat(2000));
    await waitFor('the server to forget it', () => server.clients() === 0);
    expect(client.replies[0]).toMatchObject({ error: { code: -32600 } });
  });

  test('with half a line waits for no one and is cut in the end', async () => {
    const { raw, server } = await startRpc({}, { limits: { halfLineMs: 1, sweepMs: 10 } });
    const idle = await raw();
    const half = await raw();
    half.send(pingLine(1).slice(0, 20));
    await half.untilEnded();
    await waitFor('one client', () => server.clients() === 1);
    expect(await idle.ask('ping')).toMatchObject({ result: { pong: true } });
  });

  test('may take its time for a line within the limit', async () => {
    const { raw } = await startRpc();
    const client = await raw();
    for (const piece of pingLine(7)) {
      client.send(piece);
      await new Promise(setImmediate);
    }
    expect(await client.nextReply()).toMatchObject({ id: 7, result: { pong: true } });
  });

  test('cannot run two calls under one id', async () => {
    const gate = Promise.withResolvers<object>();
    const { raw } = await startRpc({ 'test.wait': method(() => gate.promise) });
    const client = await raw();
    client.send('{"jsonrpc":"2.0","id":1,"method":"test.wait"}\n{"jsonrpc":"2.0","id":1,"method":"test.wait"}\n');
    expect(await client.nextReply()).toMatchObject({ id: 1, error: { code: -32600 } });
    gate.resolve({ done: true });
    expect(await client.nextReply()).toMatchObject({ id: 1, result: { done: true } });
  });

  test('with too many calls at once gets `busy` for the rest and can still cancel', async () => {
    const { raw } = await startRpc({
      'test.wait': method((_params, call: CallContext) => new Promise((_resolve, reject) => {
        call.signal.addEventListener('abort', () => reject(call.signal.reason as Error));
      })),
    }, { limits: { maxCallsPerConnection: 3 } });
    const client = await raw();
    client.send([1, 2, 3, 4].map((id) => `{"jsonrpc":"2.0","id":${id},"method":"test.wait"}\n`).join(''));
    expect(await client.nextReply()).toMatchObject({ id: 4, error: { code: -32000, data: { code: 'busy' } } });
    client.send('{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":2}}\n');
    expect(await client.nextReply()).toMatchObject({ id: 2, error: { data: { code: 'cancelled' } } });
    expect(await client.ask('ping')).toMatchObject({ result: { pong: true } });
  });
});

test('10,000 lines of mangled requests get one error each at most, and the next client is answered', async () => {
  const { raw, server, log } = await startRpc({}, { limits: { maxFaults: 20_000 } });
  const client = await raw();
  // A fixed sequence: a failure can be run again.
  let state = 20_261_122;
  const random = (below: number): number => (state = (state * 1_103_515_245 + 12_345) % 2_147_483_648) % below;
  const whole = Buffer.from('{"jsonrpc":"2.0","id":1,"method":"ping","params":{"value":[1,{"a":"b"}]}}');
  for (let count = 0; count < 10_000; count += 1) {
    const line = Buffer.from(whole);
    for (let hits = random(4); hits >= 0; hits -= 1) line[random(line.length)] = random(256);
    client.send(Buffer.concat([line.subarray(0, 1 + random(line.length)), Buffer.from('\n')]));
  }
  client.send(pingLine('last'));
  await waitFor('the last answer', () => client.replies.find((reply) => reply.id === 'last'));
  expect(client.replies.length).toBeGreaterThan(9_000);
  expect(client.replies.every((reply) => reply.result !== undefined || [-32700, -32600, -32601, -32602].includes(reply.error?.code ?? 0))).toBe(true);
  expect(log.filter((line) => line.level === 'error')).toEqual([]);
  expect(await (await raw()).ask('ping')).toMatchObject({ result: { pong: true } });
  expect(server.stats()).toMatchObject({ calls: 0, bufferedInputBytes: 0 });
});

describe('a slow reader', () => {
  test('has its requests left unread; others are answered; all its answers come once it reads', async () => {
    const limits = { softOutputBytes: 256 * 1024, linesPerTurn: 4 };
    const { raw, server } = await startRpc({ 'test.big': method(() => ({ text: 'x'.repeat(64 * 1024) })) }, { limits });
    const slow = await raw();
    const good = await raw();
    slow.socket.pause();
    slow.send(Array.from({ length: 500 }, (_, id) => `{"jsonrpc":"2.0","id":${id},"method":"test.big"}\n`).join(''));
    await waitFor('a full buffer', () => server.stats().bufferedOutputBytes > limits.softOutputBytes);
    for (let count = 0; count < 20; count += 1) {
      expect(await good.ask('ping')).toMatchObject({ result: { pong: true } });
      // At most the answers of one turn are added before the limit is looked at again.
      expect(server.stats().bufferedOutputBytes).toBeLessThanOrEqual(limits.softOutputBytes + limits.linesPerTurn * 65 * 1024);
    }
    slow.socket.resume();
    await waitFor('all answers', () => slow.replies.length === 500);
    expect(slow.replies.map((reply) => reply.id)).toEqual(Array.from({ length: 500 }, (_, id) => id));
    expect(server.stats().bufferedOutputBytes).toBe(0);
  });

  test('loses progress before it costs memory', async () => {
    const { raw, server } = await startRpc({
      'test.chatty': method((_params, call: CallContext) => {
        for (let count = 0; count < 50_000; count += 1) call.stage('copying', 'x'.repeat(100));
        return { done: true };
      }),
    }, { limits: { softOutputBytes: 100_000 } });
    const client = await raw();
    client.socket.pause();
    client.send('{"jsonrpc":"2.0","id":1,"method":"test.chatty"}\n');
    const good = await raw();
    await good.ask('ping');
    expect(server.stats().bufferedOutputBytes).toBeLessThan(200_000);
    client.socket.resume();
    await waitFor('the answer', () => client.replies.find((reply) => reply.id === 1));
    expect(client.replies.length).toBeLessThan(50_000);
  });

  test('with too many unsent answers is dropped', async () => {
    const gate = Promise.withResolvers<void>();
    const { raw, server } = await startRpc({
      'test.big': method(async () => {
        await gate.promise;
        return { text: 'x'.repeat(mebibyte) };
      }),
    }, { limits: { softOutputBytes: mebibyte, hardOutputBytes: 4 * mebibyte } });
    const slow = await raw();
    const good = await raw();
    slow.socket.pause();
    slow.send(Array.from({ length: 50 }, (_, id) => `{"jsonrpc":"2.0","id":${id},"method":"test.big"}\n`).join(''));
    await waitFor('all calls', () => server.stats().calls === 50);
    gate.resolve();
    await waitFor('the drop', () => server.clients() === 1);
    await waitFor('the calls to end', () => server.stats().calls === 0);
    expect(server.stats().bufferedOutputBytes).toBe(0);
    expect(await good.ask('ping')).toMatchObject({ result: { pong: true } });
  });

  test('is the one to go when all clients together hold too much', async () => {
    const { raw, server } = await startRpc({ 'test.big': method(() => ({ text: 'x'.repeat(900 * 1024) })) },
      { limits: { maxBufferedBytes: 2 * mebibyte, sweepMs: 10 } });
    const good = await raw();
    for (let count = 0; count < 4; count += 1) {
      const slow = await raw();
      slow.socket.pause();
      slow.send('{"jsonrpc":"2.0","id":1,"method":"test.big"}\n');
    }
    await waitFor('the largest to be dropped', () => server.clients() < 5);
    await waitFor('few bytes', () => server.stats().bufferedOutputBytes <= 2 * mebibyte);
    expect(await good.ask('ping')).toMatchObject({ result: { pong: true } });
  });
});

describe('many clients', () => {
  test('1,000 connections with half a line each do not keep others waiting or the daemon growing', async () => {
    const { raw, server } = await startRpc();
    const clients = await Promise.all(Array.from({ length: 1000 }, () => raw()));
    await waitFor('all to be accepted', () => server.clients() === 1000);
    for (const client of clients) client.send(pingLine('half').slice(0, 30));
    const good = await raw();
    expect(await good.ask('ping')).toMatchObject({ result: { pong: true } });
    await waitFor('the half lines', () => server.stats().bufferedInputBytes > 0);
    expect(server.stats().bufferedInputBytes).toBeLessThan(1000 * 1024);
    for (const client of clients) client.send(pingLine('half').slice(30));
    await waitFor('1,000 answers', () => clients.every((client) => client.replies.length === 1));
    for (const client of clients) client.close();
    await waitFor('them to leave', () => server.clients() === 1);
    expect(server.stats()).toMatchObject({ calls: 0, bufferedInputBytes: 0, bufferedOutputBytes: 0 });
  });

  test('one too many is told so and let go', async () => {
    const { raw, server } = await startRpc({}, { limits: { maxConnections: 3 } });
    const clients = await Promise.all([raw(), raw(), raw()]);
    const extra = await raw();
    expect(await extra.nextReply()).toMatchObject({ id: null, error: { code: -32000, data: { code: 'busy' } } });
    await extra.untilEnded();
    await waitFor('it to be gone', () => server.clients() === 3);
    for (const client of clients) expect(await client.ask('ping')).toMatchObject({ result: { pong: true } });
  });

  test('one that floods does not keep the others from their turn', async () => {
    const { raw } = await startRpc();
    const flood = await raw();
    const good = await raw();
    flood.send(Array.from({ length: 20_000 }, (_, id) => pingLine(id)).join(''));
    expect(await good.ask('ping')).toMatchObject({ result: { pong: true } });
    await waitFor('its answers', () => flood.replies.length === 20_000);
    expect(flood.replies.every((reply) => reply.error === undefined)).toBe(true);
  });
});

describe('a client that closes one side', () => {
  test('still gets the answers it waits for', async () => {
    const gate = Promise.withResolvers<object>();
    const { server, socketPath } = await startRpc({ 'test.wait': method(() => gate.promise) }, { limits: { sweepMs: 10 } });
    const socket = connect({ path: socketPath, allowHalfOpen: true });
    socket.end('{"jsonrpc":"2.0","id":1,"method":"test.wait"}\n');
    let text = '';
    socket.on('data', (chunk: Buffer) => { text += chunk.toString(); });
    await waitFor('a sign of life', () => text.startsWith('\n'));
    gate.resolve({ done: true });
    await once(socket, 'end');
    expect(JSON.parse(text)).toEqual({ jsonrpc: '2.0', id: 1, result: { done: true } });
    await waitFor('it to be gone', () => server.clients() === 0);
  });

  test('and waits for nothing is let go', async () => {
    const { raw, server } = await startRpc();
    const client = await raw();
    client.socket.end();
    await waitFor('it to be gone', () => server.clients() === 0);
  });
});

describe('listening', () => {
  test('makes the socket for its owner only and is idle again when everybody has left', async () => {
    const { raw, server, socketPath } = await startRpc();
    expect((await stat(socketPath)).mode & 0o777).toBe(0o600);
    const changes: boolean[] = [];
    const stop = server.onIdleChange((idle) => changes.push(idle));
    const [first, second] = [await raw(), await raw()];
    await first.ask('ping');
    first.close();
    second.close();
    await waitFor('idle', () => changes.at(-1) === true);
    expect(changes).toEqual([false, true]);
    stop();
    await raw();
    expect(changes).toEqual([false, true]);
  });

  test('is not idle while a write goes on without its client', async () => {
    const gate = Promise.withResolvers<object>();
    const { raw, server } = await startRpc({ 'test.write': method(() => gate.promise, { effect: 'write' }) });
    const changes: boolean[] = [];
    server.onIdleChange((idle) => changes.push(idle));
    const client = await raw();
    client.send('{"jsonrpc":"2.0","id":1,"method":"test.write"}\n');
    await waitFor('the call', () => server.stats().calls === 1);
    client.close();
    await waitFor('it to be gone', () => server.clients() === 0);
    expect(changes).toEqual([false]);
    gate.resolve({});
    await waitFor('idle', () => changes.at(-1) === true);
  });

  test('ends with answers sent, streams and idle clients dropped, and the socket file gone', async () => {
    const { raw, server, socketPath } = await startRpc({
      'test.wait': method((_params, call: CallContext) => new Promise((_resolve, reject) => {
        call.stage('waiting');
        call.signal.addEventListener('abort', () => reject(call.signal.reason as Error));
      }), { effect: 'write' }),
    });
    const [idle, busy] = [await raw(), await raw()];
    const reply = busy.ask('test.wait');
    await waitFor('progress', () => busy.replies.length === 1);
    await Promise.all([server.close(), server.close()]);
    expect((await reply).error?.data.code).toBe('cancelled');
    await Promise.all([idle.untilEnded(), busy.untilEnded()]);
    await expect(stat(socketPath)).rejects.toThrow(/ENOENT/);
    expect(server.clients()).toBe(0);
  });

  test('does not wait for ever for a call that ignores its end', async () => {
    const { raw, server } = await startRpc({ 'test.stuck': method(() => new Promise(() => {})) }, { limits: { closeMs: 20 } });
    const client = await raw();
    client.send('{"jsonrpc":"2.0","id":1,"method":"test.stuck"}\n');
    await waitFor('the call', () => server.stats().calls === 1);
    await server.close();
    await client.untilEnded();
  });
});
