// `agent udp` by itself, built with sanitizers, between this test and sockets of this host.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createSocket } from 'node:dgram';
import type { RemoteInfo, Socket } from 'node:dgram';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { repoRoot } from '../../test/support/source-tree.ts';
import { waitFor } from '../../test/support/wait.ts';

const agent = join(repoRoot, 'dist/native/agent-asan');
beforeAll(() => {
  execFileSync('sh', [join(repoRoot, 'scripts/build-native.sh'), '--asan'], { cwd: repoRoot });
}, 400_000);

interface Service { readonly socket: Socket; readonly port: number; readonly got: { readonly data: Buffer; readonly from: RemoteInfo }[] }
/** Keeps what comes, and answers `echo: <data>` where it is to. */
async function service(answers = true, host = '127.0.0.1', port = 0): Promise<Service> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  const got: Service['got'] = [];
  let isOpen = true;
  socket.on('close', () => { isOpen = false; });
  socket.on('message', (data, from) => {
    got.push({ data, from });
    if (answers) socket.send(Buffer.concat([Buffer.from('echo: '), data.subarray(0, 60_000)]), from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(port, host, resolve));
  onTestFinished(() => {
    if (isOpen) socket.close();
  });
  return { socket, port: socket.address().port, got };
}

const frame = (client: number, data: Buffer | string): Buffer => {
  const bytes = Buffer.from(data);
  const head = Buffer.alloc(4);
  head.writeUInt16LE(bytes.length, 0);
  head.writeUInt16LE(client, 2);
  return Buffer.concat([head, bytes]);
};
interface Relay { readonly child: ChildProcess; readonly answers: [number, string][] }
function relay(...words: string[]): Relay {
  const child = spawn(agent, ['udp', ...words], { stdio: ['pipe', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  child.stdin!.on('error', () => undefined);
  const answers: [number, string][] = [];
  let rest = Buffer.alloc(0);
  child.stdout!.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 4 && rest.length >= 4 + rest.readUInt16LE(0)) {
      const end = 4 + rest.readUInt16LE(0);
      answers.push([rest.readUInt16LE(2), rest.subarray(4, end).toString('latin1')]);
      rest = rest.subarray(end);
    }
  });
  return { child, answers };
}
const descriptors = ({ child }: Relay): number => readdirSync(`/proc/${child.pid}/fd`).length;

test('carries datagrams of several clients, and answers to each its own', async () => {
  const echo = await service();
  const { child, answers } = relay(String(echo.port));
  child.stdin!.write(Buffer.concat([frame(1, 'one'), frame(65_535, 'last'), frame(1, 'two'), frame(0, 'zero')]));
  await waitFor('all answers', () => answers.length === 4);
  expect(answers.filter(([client]) => client === 1)).toEqual([[1, 'echo: one'], [1, 'echo: two']]);
  expect(answers.filter(([client]) => client !== 1).toSorted()).toEqual([[0, 'echo: zero'], [65_535, 'echo: last']]);
  // A client keeps its socket.
  const ports = echo.got.map(({ data, from }) => [String(data), from.port] as const);
  expect(new Set(ports.map(([, port]) => port)).size).toBe(3);
  expect(ports.find(([text]) => text === 'one')?.[1]).toBe(ports.find(([text]) => text === 'two')?.[1]);
  // What the service says unasked comes, too.
  echo.socket.send('news', echo.got[0]!.from.port, '127.0.0.1');
  await waitFor('the news', () => answers.length === 5);
  expect(answers[4]).toEqual([1, 'news']);
});

test('carries empty and long datagrams, and input in pieces', async () => {
  const echo = await service(false);
  const { child, answers } = relay(String(echo.port));
  const bytes = Buffer.concat([frame(7, ''), frame(7, 'x'.repeat(65_507)), frame(7, 'y')]);
  for (const [from, to] of [[0, 3], [3, 4], [4, 5], [5, 40_000], [40_000, bytes.length - 1], [bytes.length - 1, bytes.length]] as const) {
    child.stdin!.write(bytes.subarray(from, to));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await waitFor('all', () => echo.got.length === 3);
  expect(echo.got.map(({ data }) => data.length)).toEqual([0, 65_507, 1]);
  for (const text of ['', 'z'.repeat(65_507)]) echo.socket.send(text, echo.got[0]!.from.port, '127.0.0.1');
  await waitFor('both answers', () => answers.length === 2);
  expect(answers).toEqual([[7, ''], [7, 'z'.repeat(65_507)]]);
});

test('goes on when a datagram cannot be sent, or nobody takes it', async () => {
  const gone = await service();
  const { child, answers } = relay(String(gone.port));
  await new Promise<void>((resolve) => gone.socket.close(resolve));
  // Longer than a datagram can be; then one to nobody, twice.
  child.stdin!.write(Buffer.concat([frame(1, 'x'.repeat(65_535)), frame(1, 'lost'), frame(1, 'lost')]));
  const late = createSocket('udp4').on('message', (data, from) => late.send(data, from.port, from.address));
  onTestFinished(() => void late.close());
  await new Promise<void>((resolve) => late.bind(gone.port, '127.0.0.1', resolve));
  await waitFor('an answer', () => {
    child.stdin!.write(frame(1, 'found'));
    return answers.some(([, text]) => text === 'found');
  });
  expect(answers.every(([client]) => client === 1)).toBe(true);
});

test('keeps 256 sockets at most: who was silent longest gives way', async () => {
  const echo = await service();
  const running = relay(String(echo.port));
  let one = 0;
  for (let client = 0; client < 300;) {
    // The first by itself, the others in groups: longer ones might not fit a socket's buffer.
    const group = client === 0 ? 1 : Math.min(50, 300 - client);
    running.child.stdin!.write(Buffer.concat(Array.from({ length: group }, (_, n) => frame(client + n, 'x'))));
    client += group;
    await waitFor('the answers', () => running.answers.length === client);
    if (client === 1) one = descriptors(running);
  }
  expect(running.answers.map(([client]) => client).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 300 }, (_, client) => client));
  expect(descriptors(running) - one).toBe(255);
  // The last has its own still, the first gets a new one.
  running.child.stdin!.write(Buffer.concat([frame(299, 'again'), frame(0, 'again')]));
  await waitFor('two more', () => echo.got.length === 302);
  expect(echo.got.slice(300).map(({ from }) => from.port)).toContain(echo.got[299]!.from.port);
  expect(descriptors(running) - one).toBe(255);
});

test('reaches another address where it is told one', async () => {
  const [v6, v4] = [await service(true, '::1'), await service(true, '127.0.0.9')];
  for (const [address, port] of [['::1', v6.port], ['127.0.0.9', v4.port]] as const) {
    const { child, answers } = relay(String(port), address);
    child.stdin!.write(frame(1, 'hello'));
    await waitFor('the answer', () => answers.length === 1);
  }
});

test('ends with its input, and when nobody reads', async () => {
  const echo = await service();
  const ending = relay(String(echo.port));
  ending.child.stdin!.end(Buffer.concat([frame(1, 'x'), frame(1, 'half').subarray(0, 6)]));
  await waitFor('its end', () => ending.child.exitCode === 0);
  expect(echo.got.length).toBe(1);
  const deaf = relay(String(echo.port));
  deaf.child.stdin!.write(frame(1, 'x'));
  await waitFor('an answer', () => deaf.answers.length === 1);
  deaf.child.stdout!.destroy();
  await waitFor('its end', () => deaf.child.exitCode === 0);
});

test('gets over any input', async () => {
  const echo = await service();
  const { child, answers } = relay(String(echo.port));
  const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7919 + (i >> 8) * 31) % 256));
  child.stdin!.end(bytes);
  await waitFor('its end', () => child.exitCode === 0);
  for (const [client] of answers) expect(client).toBeLessThan(65_536);
});

test('knows its words', () => {
  for (const words of [[], ['0'], ['65536'], ['-1'], ['1x'], [''], ['53', 'localhost'], ['53', '127.0.0.1', 'x'], ['99999999999999999999']]) {
    const { status, stderr } = spawnSync(agent, ['udp', ...words], { encoding: 'latin1', input: '' });
    expect([words, status, stderr]).toEqual([words, 2, 'usage: agent udp PORT [ADDRESS]\n']);
  }
});
