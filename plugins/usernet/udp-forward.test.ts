// Real sockets on this host's side; the guest's side is a script that takes and gives records as `agent udp` does.
import { Socket, createSocket } from 'node:dgram';
import { PassThrough } from 'node:stream';
import { afterEach, expect, onTestFinished, test, vi } from 'vitest';
import { operationFailed } from '../../core/plugin-api.ts';
import type { GuestExecRequest, GuestExit, GuestProcess, Logger, Vm } from '../../core/plugin-api.ts';
import type { HostListener } from './tcp-forward.ts';
import { createUdpForward, maxClients } from './udp-forward.ts';

const limit = { timeout: 20_000, interval: 2 };
const vm = { id: 'devbox000000', name: 'devbox' } as Vm;
const address = `127.34.${process.pid >> 8 & 255}.${process.pid & 255}`;
const warnings: string[] = [];
let used = 0;
const log: Logger = { debug() {}, info() {}, warn: (_, message) => { warnings.push(message ?? ''); }, error() {}, child: () => log };

interface GuestEnd {
  readonly request: GuestExecRequest;
  readonly records: { readonly client: number; readonly data: string }[];
  send(client: number, data: string | Buffer): void;
  raw(bytes: Buffer): void;
  end(): void;
  /** Takes what waits for it, where it did not read from the beginning. */
  read(): void;
  /** Bytes that the host has not taken. */
  unread(): number;
  hungUp: boolean;
}
const guests: GuestEnd[] = [];
const sockets: Socket[] = [];
const forwards: HostListener[] = [];
afterEach(() => {
  for (const forward of forwards.splice(0)) forward.close();
  for (const socket of sockets.splice(0)) socket.close();
  guests.length = 0;
  warnings.length = 0;
});

function guestProcess(request: GuestExecRequest, isReading: boolean): GuestProcess {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const exit = Promise.withResolvers<GuestExit>();
  const records: { client: number; data: string }[] = [];
  let rest: Buffer = Buffer.alloc(0);
  const read = (): void => void stdin.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 4 && rest.length >= 4 + rest.readUInt16LE(0)) {
      const end = 4 + rest.readUInt16LE(0);
      records.push({ client: rest.readUInt16LE(2), data: rest.subarray(4, end).toString() });
      rest = rest.subarray(end);
    }
  });
  if (isReading) read();
  const guest: GuestEnd = {
    request, records, read, hungUp: false,
    send(client, data) {
      const bytes = Buffer.from(data as string);
      const head = Buffer.alloc(4);
      head.writeUInt16LE(bytes.length, 0);
      head.writeUInt16LE(client, 2);
      stdout.write(Buffer.concat([head, bytes]));
    },
    raw: (bytes) => void stdout.write(bytes), unread: () => stdout.readableLength,
    end: () => exit.resolve({ code: 1 }),
  };
  guests.push(guest);
  return {
    stdin, stdout, stderr, exit: exit.promise, resize() {}, signal() {},
    hangup() {
      guest.hungUp = true;
      exit.resolve({ signal: 'HUP', number: 1 });
    },
  };
}

async function start(options: { readonly isReading?: boolean; readonly fails?: boolean; readonly guestHost?: string } = {}): Promise<{ port: number; calls(): number }> {
  let calls = 0;
  const forward = createUdpForward({
    vm, log, used: () => { used += 1; }, target: () => ({ guestHost: options.guestHost ?? 'localhost', guestPort: 5353 }),
    agent: {
      exec: async (_, request) => {
        calls += 1;
        if (options.fails === true) throw operationFailed('no');
        return guestProcess(request, options.isReading ?? true);
      },
    },
  });
  forwards.push(forward);
  const probe = await client();
  const { port } = probe.address();
  sockets.splice(sockets.indexOf(probe), 1);
  await new Promise<void>((resolve) => { probe.close(() => resolve()); });
  await forward.listen(address, port);
  return { port, calls: () => calls };
}
async function client(): Promise<Socket> {
  const socket = createSocket('udp4');
  sockets.push(socket);
  await new Promise<void>((resolve) => { socket.bind({ address, port: 0 }, resolve); });
  return socket;
}
const said = (socket: Socket): Promise<string> => new Promise((resolve) => { socket.once('message', (data) => resolve(data.toString())); });
/** Sends until it is there: datagrams may be lost. */
async function say(socket: Socket, port: number, data: string): Promise<void> {
  await expect.poll(() => {
    if (guests.at(-1)?.records.some((record) => record.data === data) === true) return true;
    socket.send(data, port, address);
    return false;
  }, limit).toBe(true);
}

test('nothing runs in the guest before the first datagram, which is not lost', async () => {
  const { port, calls } = await start();
  expect(calls()).toBe(0);
  const one = await client();
  one.send('hello', port, address);
  await expect.poll(() => guests[0]?.records, limit).toEqual([{ client: 1, data: 'hello' }]);
  expect(guests[0]?.request).toEqual({ command: ['udp', '5353'], builtin: true, env: {}, stdin: true, background: true });
});

test('goes to the address in the guest that it is told', async () => {
  const { port } = await start({ guestHost: '10.0.3.15' });
  await say(await client(), port, 'hello');
  expect(guests[0]?.request.command).toEqual(['udp', '5353', '10.0.3.15']);
});

test('gives each client its own answers, also when records come in pieces', async () => {
  const { port } = await start();
  const [one, two] = [await client(), await client()];
  await say(one, port, 'from one');
  await say(two, port, 'from two');
  const numbers = new Map(guests[0]!.records.map((record) => [record.data, record.client]));
  const answers = Promise.all([said(one), said(two)]);
  const whole = Buffer.concat([Buffer.from([3, 0, numbers.get('from two')!, 0]), Buffer.from('two'), Buffer.from([0, 0, 77, 0]), Buffer.from([3, 0, numbers.get('from one')!, 0]), Buffer.from('one')]);
  for (const byte of whole) guests[0]!.raw(Buffer.from([byte]));
  expect(await answers).toEqual(['one', 'two']);
});

test('datagrams that the guest takes are a use of the VM', async () => {
  const { port } = await start();
  const one = await client();
  await say(one, port, 'begins it');
  const before = used;
  await say(one, port, 'one more');
  expect(used).toBeGreaterThan(before);
});

test('of more than 256 clients the one silent for longest gives way, and its number is not used again soon', async () => {
  const { port } = await start();
  const first = await client();
  await say(first, port, 'first');
  for (let n = 1; n <= maxClients; n += 1) {
    const other = await client();
    await say(other, port, `client ${n}`);
  }
  let answered = false;
  first.once('message', () => { answered = true; });
  guests[0]!.send(1, 'late');
  await say(first, port, 'again');
  expect(guests[0]!.records.at(-1)).toEqual({ client: maxClients + 2, data: 'again' });
  expect(answered).toBe(false);
  expect(new Set(guests[0]!.records.map((record) => record.client)).size).toBe(maxClients + 2);
});

test('drops what a guest that does not read cannot take', async () => {
  const { port } = await start({ isReading: false });
  const one = await client();
  await expect.poll(() => { one.send('x', port, address); return guests.length; }, limit).toBe(1);
  for (let n = 0; n < 1000; n += 1) await new Promise((resolve) => { one.send(Buffer.alloc(10_000), port, address, resolve); });
  guests[0]!.read();
  await say(one, port, 'after');
  const big = guests[0]!.records.filter((record) => record.data.length === 10_000).length;
  expect(big).toBeGreaterThan(0);
  // Of 1000; without the limit nearly all of them would have been kept.
  expect(big).toBeLessThan(100);
});

test('a guest side that ends is begun again, but not at once', async () => {
  const { port, calls } = await start();
  const one = await client();
  await say(one, port, 'hello');
  guests[0]!.end();
  await expect.poll(() => guests[0]!.hungUp, limit).toBe(true);
  for (let n = 0; n < 50; n += 1) await new Promise((resolve) => { one.send('lost', port, address, resolve); });
  expect(calls()).toBe(1);
  await say(one, port, 'again');
  expect(calls()).toBe(2);
});

test('one that cannot be begun is asked for once a second at most', async () => {
  const { port, calls } = await start({ fails: true });
  const one = await client();
  await expect.poll(() => { one.send('x', port, address); return calls(); }, limit).toBe(1);
  for (let n = 0; n < 50; n += 1) await new Promise((resolve) => { one.send('x', port, address, resolve); });
  expect(calls()).toBe(1);
  await expect.poll(() => { one.send('x', port, address); return calls(); }, limit).toBe(2);
});

test('what is longer than a datagram, or for nobody, is passed over', async () => {
  const { port } = await start();
  const one = await client();
  await say(one, port, 'hello');
  const answer = said(one);
  guests[0]!.send(1, Buffer.alloc(65_508));
  guests[0]!.send(2, 'for nobody');
  guests[0]!.send(1, Buffer.alloc(65_507, 'x'));
  expect(await answer).toHaveLength(65_507);
  expect([guests[0]!.hungUp, warnings]).toEqual([false, []]);
});

test('a datagram that names no port to answer at is dropped', async () => {
  const bound = vi.spyOn(Socket.prototype, 'bind');
  onTestFinished(() => bound.mockRestore());
  const { port, calls } = await start();
  // As one from a raw socket comes in, which takes root to send.
  (bound.mock.contexts.at(-1) as Socket | undefined)?.emit('message', Buffer.from('hello'), { address, family: 'IPv4', port: 0, size: 5 });
  const one = await client();
  await say(one, port, 'named');
  const answer = said(one);
  for (const id of [1, 2]) guests[0]!.send(id, 'answer');
  expect(await answer).toBe('answer');
  expect([calls(), guests[0]!.records.map(({ data }) => data).includes('hello')]).toEqual([1, false]);
});

test('what a guest still says after the end is passed over, and no fault of the daemon', async () => {
  const { port } = await start();
  const one = await client();
  await say(one, port, 'hello');
  forwards[0]!.close();
  guests[0]!.send(1, 'late');
  guests[0]!.raw(Buffer.from([5, 0, 1]));
  await expect.poll(() => guests[0]!.unread(), limit).toBe(0);
});

test('closing ends the guest\'s side and frees the port; before it listens, too', async () => {
  const { port } = await start();
  const one = await client();
  await say(one, port, 'hello');
  forwards[0]!.close();
  forwards[0]!.close();
  expect(guests[0]!.hungUp).toBe(true);
  const next = createUdpForward({ vm, log, used() {}, agent: { exec: () => Promise.reject(operationFailed('no')) }, target: () => ({ guestHost: '', guestPort: 1 }) });
  forwards.push(next);
  await next.listen(address, port);
  const early = createUdpForward({ vm, log, used() {}, agent: { exec: () => Promise.reject(operationFailed('no')) }, target: () => ({ guestHost: '', guestPort: 1 }) });
  const pending = early.listen(address, port + 1);
  early.close();
  await expect(pending).rejects.toThrow('closed');
});
