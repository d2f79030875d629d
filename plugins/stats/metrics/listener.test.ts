// The loopback listener met by clients of all sorts.
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { waitFor } from '../../../test/support/wait.ts';
import { listenForMetrics } from './listener.ts';
import type { MetricsListener } from './listener.ts';

async function open(text: () => Promise<string> = async () => 'a 1\n# EOF\n', limitMs = 60_000): Promise<MetricsListener> {
  const listener = await listenForMetrics({ address: { host: '127.0.0.1', port: 0 }, text, limitMs });
  onTestFinished(() => listener.close());
  return listener;
}

interface Client { readonly socket: Socket; text(): string; isClosed(): boolean }
function dial({ port }: MetricsListener): Client {
  const socket = connect({ host: '127.0.0.1', port });
  let [got, closed] = ['', false];
  socket.on('data', (chunk: Buffer) => { got += chunk.toString(); });
  socket.on('close', () => { closed = true; });
  socket.on('error', () => undefined);
  onTestFinished(() => { socket.destroy(); });
  return { socket, text: () => got, isClosed: () => closed };
}
async function say(listener: MetricsListener, request: string): Promise<string> {
  const client = dial(listener);
  client.socket.write(request);
  await waitFor('the end of the connection', client.isClosed);
  return client.text();
}

test('GET /metrics gives the text as OpenMetrics, and closes', async () => {
  const answer = await say(await open(), 'GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9464\r\n\r\n');
  expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  expect(answer).toContain('content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n');
  expect(answer).toMatch(/\r\n\r\na 1\n# EOF\n$/);
});

test.each([
  ['another path', 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n', 404],
  ['a path below', 'GET /metrics/x HTTP/1.1\r\nHost: localhost\r\n\r\n', 404],
  ['a path in disguise', 'GET /a/../metrics HTTP/1.1\r\nHost: localhost\r\n\r\n', 404],
  ['another method', 'POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n', 405],
  ['a name that is not this host\'s', 'GET /metrics HTTP/1.1\r\nHost: rebound.example:9464\r\n\r\n', 421],
  ['no HTTP at all', 'hello\r\n\r\n', 400],
  ['a header without end', `GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
  ['a query, which is none of our business', 'GET /metrics?name=x HTTP/1.1\r\nHost: [::1]:9464\r\n\r\n', 200],
  ['only the head', 'HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n', 200],
])('%s', async (_, request, status) => {
  expect(await say(await open(), request)).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
});

test('a text that cannot be made is a 500 without the reason', async () => {
  expect(await say(await open(async () => { throw new Error('secret'); }), 'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n')).toMatch(/^HTTP\/1\.1 500 (?!.*secret)/s);
});

test('a client that says nothing, one that says a byte now and then, and one that does not read are let go', async () => {
  const listener = await open(async () => 'x'.repeat(64 * 1024 * 1024), 300);
  const silent = dial(listener);
  const slow = dial(listener);
  const timer = setInterval(() => { slow.socket.write('G'); }, 50);
  onTestFinished(() => { clearInterval(timer); });
  const deaf = dial(listener);
  deaf.socket.write('GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n');
  deaf.socket.pause();
  await waitFor('the end of the silent one', silent.isClosed);
  await waitFor('the end of the slow one', slow.isClosed);
  deaf.socket.resume();
  await waitFor('the end of the deaf one', deaf.isClosed);
  expect(deaf.text().length).toBeLessThan(64 * 1024 * 1024);
});

test('more clients than a few are turned away, and there is room again', async () => {
  const listener = await open();
  const clients = Array.from({ length: 30 }, () => dial(listener));
  await waitFor('the refusals', () => clients.filter((client) => client.isClosed()).length >= 14);
  expect(clients.filter((client) => !client.isClosed())).toHaveLength(16);
  for (const client of clients) client.socket.destroy();
  await waitFor('room', async () => (await say(listener, 'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n')).startsWith('HTTP/1.1 200'));
});

test('a port that is taken says so', async () => {
  const { port } = await open();
  await expect(listenForMetrics({ address: { host: '127.0.0.1', port }, text: async () => '' })).rejects.toMatchObject({ code: 'busy' });
});
