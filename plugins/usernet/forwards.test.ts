// Real listeners and connections; only the guest agent is ours, dialing a server of the test in place of the guest's.
import { createHash, randomBytes } from 'node:crypto';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { afterEach, expect, test } from 'vitest';
import { operationFailed } from '../../core/plugin-api.ts';
import type { Logger, Vm } from '../../core/plugin-api.ts';
import { createForwards } from './forwards.ts';
import type { Forward, Forwards } from './forwards.ts';

const log: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
const limit = { timeout: 20_000 };
const vm = (name: string): Vm => ({ id: name.padEnd(12, '0'), name } as Vm);
// A loopback address of this test alone, so that its ports clash with nothing.
const address = `127.33.${process.pid >> 8 & 255}.${process.pid & 255}`;

const servers: Server[] = [];
const made: Forwards[] = [];
afterEach(async () => {
  for (const forwards of made.splice(0)) await forwards.closeAll();
  for (const server of servers.splice(0)) server.close();
});

async function serve(host: string, handler: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, handler);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return (server.address() as { port: number }).port;
}
/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const port = await serve(address, () => {});
  const server = servers.pop();
  await new Promise((resolve) => server?.close(resolve));
  return port;
}
const dialed: { vm: string; host: string; port: number }[] = [];
function forwardsTo(dial?: (signal: AbortSignal) => Promise<Duplex>): Forwards {
  dialed.length = 0;
  const forwards = createForwards({
    dial: (target, to, signal) => {
      if ('path' in to) throw new Error('forwards go to ports');
      const { host, port } = to;
      dialed.push({ vm: target.name, host, port });
      if (dial) return dial(signal);
      return new Promise((resolve, reject) => {
        const socket = connect({ host, port, allowHalfOpen: true }, () => resolve(socket));
        socket.once('error', (error) => reject(operationFailed('refused', { cause: error })));
      });
    },
  }, log);
  made.push(forwards);
  return forwards;
}
async function open(port: number): Promise<Socket> {
  return await new Promise((resolve, reject) => {
    const socket = connect({ host: address, port, allowHalfOpen: true }, () => resolve(socket));
    socket.once('error', reject);
  });
}
async function collect(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
const forward = (hostPort: number, guestPort: number): Forward => ({ address, hostPort, guestPort });

test('joins a connection to the guest\'s port, and passes the end of one side on while the other goes on', async () => {
  // Answers only once the client has ended its side.
  const guestPort = await serve('127.0.0.1', (socket) => { void collect(socket).then((data) => socket.end(`got ${String(data)}`)); });
  const forwards = forwardsTo();
  const port = await freePort();
  await forwards.replace(vm('devbox'), [forward(port, guestPort)]);
  const socket = await open(port);
  socket.end('hello');
  expect(String(await collect(socket))).toBe('got hello');
  expect(dialed).toEqual([{ vm: 'devbox', host: '127.0.0.1', port: guestPort }]);
});

test('carries 32 MiB whole to a reader that is slow to begin', async () => {
  const data = randomBytes(32 * 1024 * 1024);
  const guestPort = await serve('127.0.0.1', (socket) => { socket.end(data); });
  const forwards = forwardsTo();
  const port = await freePort();
  await forwards.replace(vm('devbox'), [forward(port, guestPort)]);
  const socket = await open(port);
  socket.pause();
  await expect.poll(() => dialed.length, limit).toBe(1);
  const hash = createHash('sha256').update(await collect(socket)).digest('hex');
  expect(hash).toBe(createHash('sha256').update(data).digest('hex'));
});

test('resets a connection that the guest refuses', async () => {
  const connected = Promise.withResolvers<void>();
  const forwards = forwardsTo(async () => { await connected.promise; throw operationFailed('refused'); });
  const port = await freePort();
  await forwards.replace(vm('devbox'), [forward(port, 9)]);
  const socket = await open(port);
  connected.resolve();
  await expect(collect(socket)).rejects.toMatchObject({ code: 'ECONNRESET' });
});

test('gives up dialing when the client is gone', async () => {
  let aborted = false;
  const forwards = forwardsTo((signal) => new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => { aborted = true; reject(operationFailed('aborted')); });
  }));
  const port = await freePort();
  await forwards.replace(vm('devbox'), [forward(port, 9)]);
  const socket = await open(port);
  await expect.poll(() => dialed.length, limit).toBe(1);
  socket.resetAndDestroy();
  // Well before the limit of dialing itself.
  await expect.poll(() => aborted, { timeout: 10_000 }).toBe(true);
});

test('a guest stream that fails ends the client', async () => {
  const guestPort = await serve('127.0.0.1', (socket) => { socket.once('data', () => socket.resetAndDestroy()); });
  const forwards = forwardsTo();
  const port = await freePort();
  await forwards.replace(vm('devbox'), [forward(port, guestPort)]);
  const socket = await open(port);
  socket.write('x');
  await expect(collect(socket)).rejects.toMatchObject({ code: 'ECONNRESET' });
});

test('names the VM that has the port, then the process, and keeps the former listeners', async () => {
  const forwards = forwardsTo();
  const [one, two, taken] = [await freePort(), await freePort(), await serve(address, () => {})];
  await forwards.replace(vm('first'), [forward(one, 80)]);
  await expect(forwards.replace(vm('second'), [forward(two, 80), forward(one, 80)])).rejects.toMatchObject({
    code: 'busy', message: `Port ${address}:${one} is busy: VM first listens there`,
  });
  await expect(open(two)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  await expect(forwards.replace(vm('first'), [forward(taken, 80)])).rejects.toMatchObject({
    code: 'busy', message: expect.stringContaining(`(pid ${process.pid}) listens there`),
  });
  expect(forwards.list(vm('first').id)).toEqual([forward(one, 80)]);
  (await open(one)).destroy();
});

test('a live change adds, removes and redirects, and leaves open connections alone', async () => {
  const echo = await serve('127.0.0.1', (socket) => { socket.pipe(socket); });
  const other = await serve('127.0.0.1', (socket) => { socket.end('other'); });
  const forwards = forwardsTo();
  const [kept, added] = [await freePort(), await freePort()];
  await forwards.replace(vm('devbox'), [forward(kept, echo)]);
  const before = await open(kept);
  await forwards.replace(vm('devbox'), [forward(kept, other), forward(added, other)]);
  expect(String(await collect(await open(kept)))).toBe('other');
  expect(String(await collect(await open(added)))).toBe('other');
  before.end('still here');
  expect(String(await collect(before))).toBe('still here');
  await forwards.replace(vm('devbox'), []);
  await expect(open(kept)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});

test('a redirect that fails later in the list leaves the old target', async () => {
  const old = await serve('127.0.0.1', (socket) => { socket.end('old'); });
  const taken = await serve(address, () => {});
  const forwards = forwardsTo();
  const port = await freePort();
  await forwards.replace(vm('devbox'), [forward(port, old)]);
  await expect(forwards.replace(vm('devbox'), [forward(port, 9), forward(taken, 9)])).rejects.toMatchObject({ code: 'busy' });
  expect(String(await collect(await open(port)))).toBe('old');
});

test('closing ends listeners and connections, and closing again does nothing', async () => {
  const echo = await serve('127.0.0.1', (socket) => { socket.pipe(socket); socket.on('error', () => {}); });
  const forwards = forwardsTo();
  const port = await freePort();
  await forwards.replace(vm('devbox'), [forward(port, echo)]);
  const socket = await open(port);
  await expect.poll(() => dialed.length, limit).toBe(1);
  const ended = collect(socket).catch(() => 'reset');
  await forwards.close(vm('devbox').id);
  await ended;
  await forwards.close(vm('devbox').id);
  await expect(open(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});

test('an address that is not the host\'s is an error with a hint', async () => {
  const forwards = forwardsTo();
  await expect(forwards.replace(vm('devbox'), [{ address: '192.0.2.1', hostPort: 8080, guestPort: 80 }])).rejects.toMatchObject({
    code: 'operation_failed', hint: 'the address must be one of this host',
  });
});
