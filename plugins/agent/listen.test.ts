// Listeners of the real agent, by the real session.
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { GuestListener, GuestListenTarget, GuestPeer } from '../../core/plugin-api.ts';
import { openListener } from './listen-stream.ts';
import { buildTestAgent, childCount, collect, failureOf, idle, openTestSession, run, startTestAgent, until } from './test-agent.ts';
import type { TestAgent, TestSession } from './test-agent.ts';

interface Taken { readonly stream: Duplex; readonly from: GuestPeer }

let agent: TestAgent;
let host: TestSession;
let dir: string;
let taken: Taken[];
const clients: Socket[] = [];
const isRoot = userInfo().uid === 0;

beforeAll(async () => {
  agent = await startTestAgent((await buildTestAgent()).path);
});
afterAll(async () => {
  await agent.stop();
  // AddressSanitizer and UndefinedBehaviorSanitizer speak here.
  if (/Sanitizer|runtime error/.test(agent.stderr())) throw new Error(agent.stderr());
});
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'banger-listen-'));
  taken = [];
  host = await openTestSession(agent.socketPath);
  await host.ready();
});
afterEach(async () => {
  host.session.close();
  for (const client of clients.splice(0)) client.destroy();
  await until(async () => (await childCount(agent)) === 0, 'what the agent has started to end');
  await rm(dir, { recursive: true });
});

function listen(target: GuestListenTarget, signal = idle): Promise<GuestListener> {
  return openListener(host.session, target, { subject: 'devbox', signal, onConnection: (stream, from) => { taken.push({ stream, from }); } });
}

/** A client in the guest; no error of it matters but by what the test sees. */
async function client(where: string | number, address = '127.0.0.1'): Promise<Socket> {
  const socket = typeof where === 'string' ? connect({ path: where, allowHalfOpen: true }) : connect({ port: where, host: address, allowHalfOpen: true });
  clients.push(socket);
  await once(socket, 'connect');
  return socket.on('error', () => undefined);
}

async function accepted(index: number): Promise<Taken> {
  await until(() => taken.length > index, `connection ${index}`);
  return taken[index]!;
}

async function ended(socket: Socket): Promise<void> {
  socket.resume();
  await until(() => socket.readableEnded || socket.destroyed, 'the connection to end');
}

async function text(stream: Duplex): Promise<string> {
  return Buffer.concat(await stream.toArray() as Buffer[]).toString();
}

describe('on TCP', () => {
  it('gives each connection with who made it, and carries both ways with half-close', async () => {
    const listener = await listen({ host: '127.0.0.1', port: 0 });
    const [first, second] = [await client(listener.port), await client(listener.port)];
    const [one, two] = [await accepted(0), await accepted(1)];
    expect([one.from, two.from]).toEqual([first, second].map((socket) => ({ host: '127.0.0.1', port: socket.localPort })));
    const data = randomBytes(3 * 1024 * 1024);
    const sum = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
    // Both at once, in opposite directions.
    first.end(data);
    two.stream.end(data);
    const [up, down] = await Promise.all([one.stream.toArray(), second.toArray()]) as [Buffer[], Buffer[]];
    expect([sum(Buffer.concat(up)), sum(Buffer.concat(down))]).toEqual([sum(data), sum(data)]);
    one.stream.end('answer');
    second.end('question');
    expect([await text(first), await text(two.stream)]).toEqual(['answer', 'question']);
    listener.close();
  });

  it('listens on both loopback addresses for localhost', async () => {
    const listener = await listen({ host: 'localhost', port: 0 });
    await client(listener.port);
    await client(listener.port, '::1');
    await accepted(1);
    expect(taken.map(({ from }) => from.host).toSorted()).toEqual(['127.0.0.1', '::1']);
  });

  it('listens everywhere for a star, and names IPv4 peers as such', async () => {
    const listener = await listen({ host: '*', port: 0 });
    await client(listener.port, '127.0.0.2');
    await client(listener.port, '::1');
    await accepted(1);
    expect(taken.map(({ from }) => from.host).toSorted()).toEqual(['127.0.0.1', '::1']);
  });

  it('says why it cannot listen', async () => {
    const server = createServer();
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo;
    expect(await failureOf(listen({ host: '127.0.0.1', port }))).toMatchObject({ code: 'operation_failed', message: `cannot listen on 127.0.0.1:${port} in devbox: Address already in use` });
    server.close();
    expect(await failureOf(listen({ host: 'somewhere', port: 0 }))).toMatchObject({ code: 'operation_failed', message: 'cannot listen on somewhere:0 in devbox: not an address to listen on' });
    expect(await failureOf(listen({ host: '127.0.0.1', port: 65_536 }))).toMatchObject({ code: 'bad_request' });
  });

  it('takes no more when closed, and the port is free, but leaves the connections it gave', async () => {
    const listener = await listen({ host: '127.0.0.1', port: 0 });
    const kept = await client(listener.port);
    const { stream } = await accepted(0);
    listener.close();
    listener.close();
    await listener.closed;
    const again = await listen({ host: '127.0.0.1', port: listener.port });
    expect(again.port).toBe(listener.port);
    stream.end('still here');
    expect(await text(kept.end())).toBe('still here');
  });

  it('ends a listener whose opening was cancelled', async () => {
    const server = createServer();
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    const cancel = new AbortController();
    const opening = failureOf(listen({ host: '127.0.0.1', port }, cancel.signal));
    cancel.abort();
    expect(await opening).toMatchObject({ code: 'cancelled' });
    expect((await listen({ host: '127.0.0.1', port })).port).toBe(port);
  });

  it('closes with the host', async () => {
    const listener = await listen({ host: '127.0.0.1', port: 0 });
    const peer = await client(listener.port);
    const { stream } = await accepted(0);
    host.socket.destroy();
    await listener.closed;
    await ended(peer);
    expect(stream.destroyed).toBe(true);
    await until(() => client(listener.port).then(() => false, () => true), 'the port to be closed');
  });
});

describe('on a unix socket', () => {
  it('makes it for its user alone, gives connections without an address, and removes it', async () => {
    const path = join(dir, 'a.sock');
    const listener = await listen({ path });
    expect(listener.port).toBe(0);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const peer = await client(path);
    const { stream, from } = await accepted(0);
    expect(from).toEqual({ host: '', port: 0 });
    peer.end('in');
    stream.end('out');
    expect([await text(stream), await text(peer)]).toEqual(['in', 'out']);
    listener.close();
    await listener.closed;
    // At once, though the file may still be there.
    const again = await listen({ path });
    again.close();
    await until(() => !existsSync(path), 'the file to be removed');
  });

  it('removes it when the host is gone', async () => {
    const path = join(dir, 'a.sock');
    const listener = await listen({ path });
    host.socket.destroy();
    await listener.closed;
    await until(() => !existsSync(path), 'the file to be removed');
  });

  it('neither takes nor removes what is not its own', async () => {
    const path = join(dir, 'a.sock');
    await writeFile(path, 'mine');
    const inUse = { code: 'operation_failed', message: `cannot listen on ${path} in devbox: Address already in use` };
    expect(await failureOf(listen({ path }))).toMatchObject(inUse);
    expect(existsSync(path)).toBe(true);
    await rm(path);
    const listener = await listen({ path });
    expect(await failureOf(listen({ path }))).toMatchObject(inUse);
    await rm(path);
    await writeFile(path, 'in its place');
    listener.close();
    await until(async () => (await childCount(agent)) === 0, 'the process that keeps the file to end');
    expect(existsSync(path)).toBe(true);
    expect(await failureOf(listen({ path: join(dir, 'missing/a.sock') }))).toMatchObject({ code: 'not_found' });
  });

  it('makes it as the user, where that one may', async (ctx) => {
    if (!isRoot) ctx.skip('only root can become another user');
    const path = join(dir, 'a.sock');
    expect(await failureOf(listen({ path, user: 'nobody' }))).toMatchObject({ code: 'operation_failed', message: `cannot listen on ${path} in devbox: Permission denied` });
    await chmod(dir, 0o777);
    const listener = await listen({ path, user: 'nobody' });
    expect(await stat(path)).toMatchObject({ uid: 65_534 });
    await client(path);
    await accepted(0);
    listener.close();
    await until(() => !existsSync(path), 'the file to be removed');
  });
});

describe('limits', () => {
  it('closes what comes beyond 128 connections of one listener', async () => {
    const listener = await listen({ host: '127.0.0.1', port: 0 });
    const peers = await Promise.all(Array.from({ length: 130 }, () => client(listener.port)));
    for (const peer of peers) peer.resume();
    await until(() => peers.filter((peer) => peer.readableEnded).length === 2, 'two to be turned away');
    expect(taken).toHaveLength(128);
    taken[0]!.stream.destroy();
    await client(listener.port);
    await accepted(128);
  });

  it('lets connections wait while streams are short, and keeps some for the host', async () => {
    const ports = [(await listen({ host: '127.0.0.1', port: 0 })).port, (await listen({ host: '127.0.0.1', port: 0 })).port];
    await Promise.all(Array.from({ length: 240 }, (_, i) => client(ports[i % 2]!)));
    // Two of the 224 are the listeners themselves.
    await until(() => taken.length === 222, 'all that there is room for');
    const results = await Promise.all(Array.from({ length: 10 }, async () => collect(await run(host.session, ['echo', 'room']))));
    expect(results.map((result) => result.stdout)).toEqual(results.map(() => 'room\n'));
    expect(taken).toHaveLength(222);
    for (const { stream } of taken.slice(0, 18)) stream.destroy();
    await until(() => taken.length === 240, 'those that waited');
  });
});
