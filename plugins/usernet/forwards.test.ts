// Real listeners and connections; only the guest agent is ours, dialing a server of the test in place of the guest's.
import { createHash, randomBytes } from 'node:crypto';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { afterEach, describe, expect, test } from 'vitest';
import { operationFailed } from '../../core/plugin-api.ts';
import type { GuestAgent, Logger, Vm, VmUse } from '../../core/plugin-api.ts';
import type { ForwardSource, PortForward } from './capability.ts';
import { createForwards } from './forwards.ts';
import type { Forwards, PublishedPort } from './forwards.ts';

const log: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
const limit = { timeout: 20_000 };
const vm = (name: string): Vm => ({ id: name.padEnd(12, '0'), name } as Vm);
let firstOpen = 0;
const held: string[] = [];
const use: Pick<VmUse, 'hold' | 'touch'> = { touch() {}, hold: (id, what) => { held.push(`${id} ${what}`); return () => { held.splice(held.indexOf(`${id} ${what}`), 1); }; } };
// A loopback address of this test alone, so that its ports clash with nothing.
const address = `127.33.${process.pid >> 8 & 255}.${process.pid & 255}`;

const servers: Server[] = [];
const made: Forwards[] = [];
afterEach(async () => {
  for (const forwards of made.splice(0)) forwards.closeAll();
  firstOpen = 0;
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
function forwardsTo(dial?: (signal: AbortSignal) => Promise<Duplex>, maxConnections?: number): Forwards {
  dialed.length = 0;
  const agent: Pick<GuestAgent, 'dial' | 'exec'> = {
    exec: () => Promise.reject(operationFailed('no datagrams here')),
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
  };
  const forwards = createForwards({ agent, use, log, address: () => address, firstOpenPort: () => firstOpen, ...(maxConnections === undefined ? {} : { maxConnections }) });
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
const forward = (hostPort: number, guestPort: number): PublishedPort => ({ address, hostPort, guestPort });
const full = (hostPort: number, guestPort: number, source: ForwardSource = 'published'): PortForward =>
  ({ protocol: 'tcp', address, hostPort, guestPort, guestHost: 'localhost', source });

test('joins a connection to the guest\'s port, and passes the end of one side on while the other goes on', async () => {
  // Answers only once the client has ended its side.
  const guestPort = await serve('127.0.0.1', (socket) => { void collect(socket).then((data) => socket.end(`got ${String(data)}`)); });
  const forwards = forwardsTo();
  const port = await freePort();
  await forwards.replace(vm('devbox'), [forward(port, guestPort)]);
  const socket = await open(port);
  socket.end('hello');
  expect(String(await collect(socket))).toBe('got hello');
  expect(dialed).toEqual([{ vm: 'devbox', host: 'localhost', port: guestPort }]);
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

test('a client that writes on learns that the guest\'s side is over, after all that it said', async () => {
  const stream = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
  const forwards = forwardsTo(() => Promise.resolve(stream));
  const port = await freePort();
  await forwards.replace(vm('devbox'), [forward(port, 80)]);
  const socket = await open(port);
  const over = new Promise<string>((resolve) => { socket.once('error', ({ message }) => resolve(message)); });
  let said = '';
  socket.on('data', (chunk: Buffer) => { said += chunk.toString(); });
  const timer = setInterval(() => socket.write(Buffer.alloc(1000)), 5);
  socket.on('close', () => clearInterval(timer));
  stream.push('an answer');
  stream.push(null);
  stream.once('end', () => stream.destroy());
  expect(await over).toMatch(/ECONNRESET|EPIPE/);
  expect(said).toBe('an answer');
  await expect.poll(() => held, limit).toEqual([]);
});

test('names the VM that has the port, then the process, and keeps the former listeners', async () => {
  const forwards = forwardsTo();
  const [one, two, taken] = [await freePort(), await freePort(), await serve(address, () => {})];
  await forwards.replace(vm('first'), [forward(one, 80)]);
  await expect(forwards.replace(vm('second'), [forward(two, 80), forward(one, 80)])).rejects.toMatchObject({
    code: 'busy', message: `Port ${address}:${one} is busy: VM first (published) listens there`,
  });
  await expect(open(two)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  await expect(forwards.replace(vm('first'), [forward(taken, 80)])).rejects.toMatchObject({
    code: 'busy', message: expect.stringContaining(`(pid ${process.pid}) listens there`),
  });
  expect(forwards.list(vm('first'))).toEqual([full(one, 80)]);
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
  forwards.closeVm(vm('devbox').id);
  await ended;
  forwards.closeVm(vm('devbox').id);
  await expect(open(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});

test('a VM has so many connections and no more, over all of its ports', async () => {
  const forwards = forwardsTo(() => new Promise(() => {}), 3);
  const ports = [await freePort(), await freePort()];
  await forwards.replace(vm('devbox'), ports.map((port) => forward(port, 80)));
  const kept = [await open(ports[0]!), await open(ports[1]!), await open(ports[0]!)];
  await expect.poll(() => dialed.length, limit).toBe(3);
  await expect(open(ports[1]!).then(collect)).rejects.toMatchObject({ code: 'ECONNRESET' });
  expect(dialed).toHaveLength(3);
  for (const socket of kept) socket.destroy();
});

test('an address that is not the host\'s is an error with a hint', async () => {
  const forwards = forwardsTo();
  await expect(forwards.replace(vm('devbox'), [{ address: '192.0.2.1', hostPort: 8080, guestPort: 80 }])).rejects.toMatchObject({
    code: 'operation_failed', hint: 'the address must be one of this host',
  });
});

test('a VM is in use while connections that its guest took live', async () => {
  const echo = await serve('127.0.0.1', (socket) => { socket.pipe(socket); });
  const forwards = forwardsTo();
  const [port, refused] = [await freePort(), await freePort()];
  await forwards.replace(vm('devbox'), [forward(port, echo), forward(refused, 9)]);
  await expect(collect(await open(refused))).rejects.toMatchObject({ code: 'ECONNRESET' });
  expect(held).toEqual([]);
  const [one, two] = [await open(port), await open(port)];
  await expect.poll(() => dialed.length, limit).toBe(3);
  await expect.poll(() => held, limit).toEqual([`${vm('devbox').id} connections to its ports`]);
  one.end('x');
  await collect(one);
  expect(held).toHaveLength(1);
  two.destroy();
  await expect.poll(() => held, limit).toEqual([]);
});

test('closing ends a listener that is only about to listen', async () => {
  const forwards = forwardsTo();
  const port = await freePort();
  const pending = forwards.replace(vm('devbox'), [forward(port, 80)]);
  forwards.closeVm(vm('devbox').id);
  await expect(pending).rejects.toMatchObject({ code: 'cancelled' });
  await expect(open(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});

describe('added and automatic forwards', () => {
  const ready = async (): Promise<{ forwards: Forwards; devbox: Vm }> => {
    const forwards = forwardsTo();
    await forwards.replace(vm('devbox'), []);
    return { forwards, devbox: vm('devbox') };
  };

  test('take the guest\'s port on the VM\'s address, and asking again gives the same', async () => {
    const { forwards, devbox } = await ready();
    const guestPort = await serve('127.0.0.1', (socket) => { socket.end('hello'); });
    const one = await forwards.open(devbox, { protocol: 'tcp', guestPort, guestHost: '127.0.0.1', source: 'auto' });
    expect(one).toEqual({ ...full(guestPort, guestPort, 'auto'), guestHost: '127.0.0.1' });
    expect(await forwards.open(devbox, { protocol: 'tcp', guestPort, guestHost: '127.0.0.1', source: 'auto' })).toEqual(one);
    expect(String(await collect(await open(guestPort)))).toBe('hello');
    forwards.close(devbox, one);
    forwards.close(devbox, one);
    await expect(open(guestPort)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    expect(forwards.list(devbox)).toEqual([]);
  });

  test('dial where they are told, from the next connection on', async () => {
    const { forwards, devbox } = await ready();
    const port = await freePort();
    const guestPort = await serve('127.9.9.9', (socket) => { socket.end('there'); });
    const request = { protocol: 'tcp', guestPort, hostPort: port, source: 'auto' } as const;
    await forwards.open(devbox, { ...request, guestHost: '127.9.9.8' });
    await expect(collect(await open(port))).rejects.toMatchObject({ code: 'ECONNRESET' });
    await forwards.open(devbox, { ...request, guestHost: '127.9.9.9' });
    expect(String(await collect(await open(port)))).toBe('there');
    expect(forwards.list(devbox)).toHaveLength(1);
  });

  test('of a port kept for root are at 20000 more, and where that is taken at 30000 more', async () => {
    const { forwards, devbox } = await ready();
    firstOpen = 1024;
    const at = async (guestPort: number): Promise<number> => (await forwards.open(devbox, { protocol: 'tcp', guestPort, source: 'auto' })).hostPort;
    expect(await at(80)).toBe(20_080);
    await forwards.open(devbox, { protocol: 'tcp', guestPort: 9, hostPort: 20_081, source: 'added' });
    expect(await at(81)).toBe(30_081);
    expect(await at(1024)).toBe(1024);
  });

  test('take no place of each other: 80 of the guest at 20080 here, and its 20080', async () => {
    const { forwards, devbox } = await ready();
    firstOpen = 1024;
    const web = await forwards.open(devbox, { protocol: 'tcp', guestPort: 80, source: 'auto' });
    await expect(forwards.open(devbox, { protocol: 'tcp', guestPort: 20_080, source: 'auto' })).rejects.toMatchObject({
      code: 'busy', message: `Port ${address}:20080 is busy: VM devbox (automatic) listens there`,
    });
    expect(forwards.list(devbox)).toEqual([web]);
    forwards.close(devbox, web);
    await forwards.open(devbox, { protocol: 'tcp', guestPort: 20_080, source: 'auto' });
    expect((await forwards.open(devbox, { protocol: 'tcp', guestPort: 80, source: 'auto' })).hostPort).toBe(30_080);
  });

  test('that gave way are told of, whoever owns them and whatever came of it', async () => {
    const { forwards, devbox } = await ready();
    const other = vm('other');
    await forwards.replace(other, []);
    const [port, taken] = [await freePort(), await serve(address, () => {})];
    const told: string[] = [];
    forwards.onPublish((id) => told.push(id));
    const auto = (): Promise<PortForward> => forwards.open(devbox, { protocol: 'tcp', guestPort: port, source: 'auto' });
    await auto();
    const added = await forwards.open(other, { protocol: 'tcp', guestPort: 1, hostPort: port, address: '0.0.0.0', source: 'added' });
    expect(told.splice(0)).toEqual([devbox.id]);
    forwards.close(other, added);
    await auto();
    // The second rule cannot be had, so the first one is not, either.
    await expect(forwards.replace(devbox, [forward(port, 2), forward(taken, 3)])).rejects.toMatchObject({ code: 'busy' });
    expect([told.splice(0), forwards.list(devbox)]).toEqual([[devbox.id], []]);
    await forwards.replace(other, [forward(port, 2)]);
    expect(told).toEqual([other.id]);
  });

  test('give way to what is published, and those that were added do not', async () => {
    const { forwards, devbox } = await ready();
    const [auto, added] = [await freePort(), await freePort()];
    await forwards.open(devbox, { protocol: 'tcp', guestPort: auto, source: 'auto' });
    await forwards.open(devbox, { protocol: 'tcp', guestPort: 1, hostPort: added, source: 'added' });
    await expect(forwards.replace(devbox, [forward(added, 2)])).rejects.toMatchObject({ message: `Port ${address}:${added} is busy: VM devbox (added) listens there` });
    let told = 0;
    const stop = forwards.onPublish(() => { told += 1; });
    await forwards.replace(devbox, [forward(auto, 3)]);
    stop();
    expect(told).toBe(1);
    expect(forwards.list(devbox)).toEqual([full(added, 1, 'added'), full(auto, 3)]);
    await expect(forwards.open(devbox, { protocol: 'tcp', guestPort: auto, source: 'auto' })).rejects.toMatchObject({
      code: 'busy', message: `Port ${address}:${auto} is busy: VM devbox (published) listens there`,
    });
  });

  test('that appear on their own become added when they are asked for, without an end of their listener', async () => {
    const { forwards, devbox } = await ready();
    const port = await serve('127.0.0.1', (socket) => { socket.pipe(socket); });
    await forwards.open(devbox, { protocol: 'tcp', guestPort: port, guestHost: '127.0.0.1', source: 'auto' });
    const before = await open(port);
    await forwards.open(devbox, { protocol: 'tcp', guestPort: port, source: 'added' });
    expect(forwards.list(devbox)).toEqual([full(port, port, 'added')]);
    before.end('still here');
    expect(String(await collect(before))).toBe('still here');
    // What was asked for is not closed as an automatic one.
    forwards.close(devbox, full(port, port, 'auto'));
    expect(forwards.list(devbox)).toHaveLength(1);
  });

  test('of two VMs that want one port of one address: the second is told who has it', async () => {
    const { forwards, devbox } = await ready();
    await forwards.replace(vm('other'), []);
    const port = await freePort();
    await forwards.open(devbox, { protocol: 'tcp', guestPort: port, source: 'auto' });
    await expect(forwards.open(vm('other'), { protocol: 'tcp', guestPort: port, source: 'auto' })).rejects.toMatchObject({
      code: 'busy', message: `Port ${address}:${port} is busy: VM devbox (automatic) listens there`,
    });
  });

  test('are refused once the VM\'s forwards are closed, and opening and closing leaves nothing', async () => {
    const { forwards, devbox } = await ready();
    const port = await freePort();
    for (let n = 0; n < 100; n += 1) forwards.close(devbox, await forwards.open(devbox, { protocol: 'tcp', guestPort: port, source: 'auto' }));
    await expect(open(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    const pending = forwards.open(devbox, { protocol: 'tcp', guestPort: port, source: 'auto' });
    forwards.closeVm(devbox.id);
    await expect(pending).rejects.toMatchObject({ code: 'cancelled' });
    await expect(forwards.open(devbox, { protocol: 'tcp', guestPort: port, source: 'auto' })).rejects.toMatchObject({ code: 'not_running' });
    await expect(open(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  test('say what is not forwarded until the VM\'s forwards are closed', async () => {
    const { forwards, devbox } = await ready();
    forwards.setUnforwarded(devbox, [{ protocol: 'tcp', guestPort: 80, why: 'busy' }]);
    expect(forwards.unforwarded(devbox)).toEqual([{ protocol: 'tcp', guestPort: 80, why: 'busy' }]);
    forwards.closeVm(devbox.id);
    expect(forwards.unforwarded(devbox)).toEqual([]);
  });
});
