// The guest's side is a script; the host's services are real ones of this host's 127.0.0.1.
import { createServer } from 'node:net';
import { Duplex, duplexPair } from 'node:stream';
import { expect, onTestFinished, test } from 'vitest';
import { operationFailed } from '../../core/plugin-api.ts';
import type { GuestAgent, GuestListener, VmUse } from '../../core/plugin-api.ts';
import { HostAccess } from './host-access.ts';
import { limit, log, serve, testVm } from './testing/guest.ts';

type Listen = GuestAgent['listen'];
interface Open { readonly target: Parameters<Listen>[1]; readonly connect: () => Duplex; readonly take: () => Duplex; readonly lose: () => void; closed: boolean }

function scriptedAgent(): { readonly open: Open[]; failure: Error | undefined; readonly agent: Pick<GuestAgent, 'listen'> } {
  const world: ReturnType<typeof scriptedAgent> = {
    open: [], failure: undefined,
    agent: {
      async listen(_, target, { onConnection }): Promise<GuestListener> {
        if (world.failure !== undefined) throw world.failure;
        const over = Promise.withResolvers<void>();
        const open: Open = {
          target, closed: false, lose: over.resolve,
          connect() {
            const [inside, outside] = duplexPair();
            onConnection(outside, { host: '127.0.0.1', port: 5 });
            return inside;
          },
          take() {
            const stream = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
            onConnection(stream, { host: '127.0.0.1', port: 5 });
            return stream;
          },
        };
        world.open.push(open);
        return { port: 'port' in target ? target.port : 0, closed: over.promise, close() { open.closed = true; over.resolve(); } };
      },
    },
  };
  return world;
}
const held = new Set<string>();
const use: Pick<VmUse, 'hold'> = { hold: (_, what) => { held.add(what); return () => { held.delete(what); }; } };
const retry = { firstMs: 5, lastMs: 20, goodMs: 60_000 };
function access(world: ReturnType<typeof scriptedAgent>, ports: readonly number[]): HostAccess {
  const made = new HostAccess({ agent: world.agent, use, log, retry }, testVm(), ports);
  onTestFinished(() => made.close());
  return made;
}
async function collect(stream: Duplex): Promise<string> {
  const parts: Buffer[] = [];
  for await (const chunk of stream) parts.push(chunk as Buffer);
  return Buffer.concat(parts).toString();
}

test('listens for exactly the listed ports, on an address that is nothing but the way to the host', async () => {
  const world = scriptedAgent();
  access(world, [5432, 6379]);
  await expect.poll(() => world.open.map(({ target }) => target), limit).toEqual([{ host: '127.111.0.1', port: 5432 }, { host: '127.111.0.1', port: 6379 }]);
  const none = scriptedAgent();
  access(none, []);
  expect(none.open).toEqual([]);
});

test('joins a connection with the host\'s 127.0.0.1, each direction ending by itself', async () => {
  const { port } = await serve('127.0.0.1', 0, (socket) => { void collect(socket).then((text) => socket.end(`got ${text}`)); });
  const world = scriptedAgent();
  access(world, [port]);
  await expect.poll(() => world.open.length, limit).toBe(1);
  const inside = world.open[0]!.connect();
  inside.end('a question');
  expect(await collect(inside)).toBe('got a question');
});

test('a port of the host where nobody listens ends the connection', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  const world = scriptedAgent();
  access(world, [port]);
  await expect.poll(() => world.open.length, limit).toBe(1);
  expect(await collect(world.open[0]!.connect())).toBe('');
});

test('listens again when the session was lost, and says what keeps it from that', async () => {
  const world = scriptedAgent();
  const made = access(world, [5432]);
  await expect.poll(() => world.open.length, limit).toBe(1);
  world.failure = operationFailed('cannot listen on 127.111.0.1:5432 in devbox: Address in use');
  world.open[0]!.lose();
  await expect.poll(() => made.notices(), limit).toEqual(['the guest does not reach port 5432 of the host: cannot listen on 127.111.0.1:5432 in devbox: Address in use']);
  world.failure = undefined;
  await expect.poll(() => world.open.length, limit).toBe(2);
  await expect.poll(() => made.notices(), limit).toEqual([]);
});

test('a service of the host learns that the guest reads no more, and the VM is not in use by that connection any longer', async () => {
  let isOver = false;
  const { port } = await serve('127.0.0.1', 0, (socket) => {
    socket.on('error', () => {}).on('close', () => { isOver = true; }).resume();
    const timer = setInterval(() => socket.write('an event'), 5);
    socket.on('close', () => clearInterval(timer));
  });
  const world = scriptedAgent();
  access(world, [port]);
  await expect.poll(() => world.open.length, limit).toBe(1);
  // Both of its directions are over, in order; what the host still says reaches nobody.
  const stream = world.open[0]!.take();
  stream.push(null);
  stream.once('end', () => stream.destroy());
  await expect.poll(() => isOver, limit).toBe(true);
  expect([...held]).toEqual([]);
});

test('closing ends listeners and connections, and takes no more', async () => {
  const { port } = await serve('127.0.0.1', 0, (socket) => { socket.on('error', () => {}); });
  const world = scriptedAgent();
  const made = access(world, [port]);
  await expect.poll(() => world.open.length, limit).toBe(1);
  const inside = world.open[0]!.connect();
  const over = collect(inside);
  expect([...held]).toEqual([`connection to port ${port} of the host`]);
  made.close();
  expect(await over).toBe('');
  await expect.poll(() => [...held], limit).toEqual([]);
  expect(world.open[0]!.closed).toBe(true);
  expect(await collect(world.open[0]!.connect())).toBe('');
  expect(world.open).toHaveLength(1);
});
