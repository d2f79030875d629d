// Copies that go past us with the real program as this host's end. The guest is the test: a socket where its port would be, and the daemon's stream.
import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { frameKind } from '../../core/api.ts';
import { run, temporary } from '../../native/copy/testing.ts';
import { StreamClient } from '../../test/support/stream-client.ts';
import { waitFor } from '../../test/support/wait.ts';
import { DirectEnd } from './direct-end.ts';
import { GuestEnd } from './guest-end.ts';
import { runDirect } from './run-direct.ts';

const root = resolve(import.meta.dirname, '../..');
const program = join(root, 'dist/native/copy');
const hello = Buffer.from('00112233445566778899aabbccddeeff', 'hex');
const area = temporary('direct-program');
const source = join(area.dir, 'tree');
/** More than all buffers on the way hold. */
const big = Buffer.alloc(8 * 1024 * 1024, 'all of it');

beforeAll(async () => {
  await promisify(execFile)('sh', [join(root, 'scripts/build-native.sh')], { cwd: root });
  mkdirSync(join(source, 'a'), { recursive: true });
  writeFileSync(join(source, 'a', 'big'), big);
  writeFileSync(join(source, 'small'), 'text');
});
afterAll(() => area.dispose());

let server: Server;
const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  server.close();
});

interface Guest {
  readonly daemon: StreamClient;
  readonly done: Promise<number | Error>;
  exit(code: number): Promise<void>;
}
interface Way {
  /** The host has connected. */
  readonly onHost: (socket: Socket) => void;
  readonly stallLimitMs?: number;
}

let count = 0;
async function begin(words: readonly string[], { onHost, stallLimitMs = 60_000 }: Way): Promise<Guest> {
  const path = join(area.dir, `s${count += 1}`);
  server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined); // the host may leave at any time
    onHost(socket);
  });
  await new Promise<void>((done) => { server.listen(path, done); });
  const direction = words[0] === 'send' ? 'in' : 'out';
  const daemon = new StreamClient();
  const guest = new GuestEnd(daemon.stream, 'one', () => undefined);
  guest.listen();
  const host = new DirectEnd(words, {
    program, say: () => undefined, onReport: () => undefined, guest: { ref: 'one', direction, path: '/srv' },
    way: { socket: path, hello: hello.toString('hex'), stallLimitMs, floorBytesPerSecond: 1024 },
  });
  const progress = { moved: () => undefined, at: () => undefined, end: () => undefined, say: () => undefined };
  const done = runDirect({ host, guest, direction, progress, interrupts: { handle: () => undefined }, target: 'there' });
  return { daemon, done: done.catch((error: unknown) => error as Error), exit: (code) => daemon.send(frameKind.exit, JSON.stringify({ code })) };
}

const isThrough = (daemon: StreamClient) => (): boolean => daemon.frames.some(({ kind, payload }) => kind === frameKind.stdin && payload.length === 0);
const sendTree = async (): Promise<Buffer> => (await run(program, ['send', '--', source])).out;
/** What is in a directory, also what is temporary. */
const entries = (dir: string): string[] => readdirSync(dir).sort();
function place(): string {
  const dir = join(area.dir, `out${count += 1}`);
  mkdirSync(dir);
  return dir;
}

test('into a guest: the stream is whole, and ends with the host', async () => {
  const [taken, out] = [[] as Buffer[], place()];
  const ended = Promise.withResolvers<void>();
  const { daemon, done, exit } = await begin(['send', '--', source], {
    onHost: (socket) => socket.on('data', (bytes) => taken.push(bytes)).on('end', () => ended.resolve()).resume().write(hello),
  });
  await waitFor('the end of the stream', isThrough(daemon));
  await exit(0);
  expect(await done).toBe(0);
  await ended.promise;
  const all = Buffer.concat(taken);
  expect(all.subarray(0, hello.length)).toEqual(hello);
  expect(await run(program, ['receive', '--', out], { input: all.subarray(hello.length) })).toMatchObject({ code: 0, err: '' });
  expect([readFileSync(join(out, 'tree/a/big')).equals(big), entries(join(out, 'tree'))]).toEqual([true, ['a', 'small']]);
});

test('out of a guest: what an earlier copy left is not of this one', async () => {
  const [stream, out] = [await sendTree(), place()];
  const { daemon, done, exit } = await begin(['receive', '--name', 'tree', '--', out], {
    onHost: (socket) => socket.write(Buffer.concat([Buffer.alloc(5000, 'left'), hello.subarray(0, 15), hello, stream])),
  });
  await waitFor('the end of the stream', isThrough(daemon));
  await exit(0);
  expect(await done).toBe(0);
  expect([readFileSync(join(out, 'tree/a/big')).equals(big), entries(join(out, 'tree'))]).toEqual([true, ['a', 'small']]);
});

test('out of a guest that ends early and claims success: nothing is put in place', async () => {
  const [stream, out] = [await sendTree(), place()];
  const { done, exit } = await begin(['receive', '--name', 'tree', '--', out], { onHost: (socket) => socket.write(Buffer.concat([hello, stream.subarray(0, 100_000)])) });
  await exit(0);
  expect(await done).toMatchObject({ code: 'operation_failed', message: 'host: the stream ended early; nothing was put in place (there)' });
  expect(entries(out)).toEqual([]);
});

test('into a guest that refuses in the middle: its reason is the reason', async () => {
  const { daemon, done, exit } = await begin(['send', '--', source], {
    onHost: (socket) => {
      socket.write(hello);
      socket.once('data', () => {
        socket.pause();
        void daemon.send(frameKind.stderr, 'copy: /srv/tree: No space left on device: nothing was put in place\n').then(() => exit(3));
      }).resume();
    },
  });
  expect(await done).toMatchObject({ message: 'one: /srv/tree: No space left on device; nothing was put in place (there)' });
});

test('of a source that is missing: says so without waiting for the guest', async () => {
  const { daemon, done, exit } = await begin(['send', '--', join(area.dir, 'none')], { onHost: () => undefined });
  await waitFor('the signal', () => daemon.frames.some(({ kind }) => kind === frameKind.signal));
  await exit(3);
  expect(await done).toMatchObject({ message: expect.stringMatching(/^host: .*No such file or directory/) as string });
});

test.each([['in', 'take more for'], ['out', 'send more of']] as const)('%s, with a guest that stalls: gives up', async (direction, words) => {
  const out = place();
  const { done } = await begin(direction === 'in' ? ['send', '--', source] : ['receive', '--', out], { onHost: (socket) => socket.write(hello), stallLimitMs: 200 });
  expect(await done).toMatchObject({ code: 'timeout', message: expect.stringMatching(new RegExp(`^Gave up waiting for the guest of one to ${words} /srv after 0.2 s`)) as string });
  expect(entries(out)).toEqual([]);
});

test('out of a guest without a daemon any more: stops, and takes back what it had begun', async () => {
  const [stream, out] = [await sendTree(), place()];
  const { daemon, done } = await begin(['receive', '--name', 'tree', '--', out], { onHost: (socket) => socket.write(Buffer.concat([hello, stream.subarray(0, 100_000)])) });
  await waitFor('something temporary', () => entries(out).length > 0);
  daemon.close();
  expect(await done).toMatchObject({ code: 'daemon_unreachable', message: 'The daemon went away during the copy; nothing was put in place (there)' });
  expect(entries(out)).toEqual([]);
});

test('out of a VM that ends: this host notices by the socket, and the daemon says why', async () => {
  const out = place();
  const { daemon, done } = await begin(['receive', '--', out], { onHost: (socket) => socket.end(hello) });
  await waitFor('the end of the host', isThrough(daemon));
  await daemon.send(frameKind.exit, JSON.stringify({ error: { code: 'operation_failed', opId: 'op-1', message: 'The guest agent of one is gone' } }));
  expect(await done).toMatchObject({ message: 'The guest agent of one is gone; nothing was put in place (there)' });
});
