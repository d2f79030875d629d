// Real servers of this host, right ones and such that no client should trust.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createHttp } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { probeScheme } from './probe.ts';
import type { Dial } from './probe.ts';

let dir: string;
let tls: { readonly key: Buffer; readonly cert: Buffer };
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'banger-probe-'));
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', join(dir, 'key'), '-out', join(dir, 'cert'), '-days', '2', '-subj', '/CN=guest'], { stdio: 'ignore' });
  tls = { key: readFileSync(join(dir, 'key')), cert: readFileSync(join(dir, 'cert')) };
});
afterAll(() => rmSync(dir, { recursive: true }));

const long = (): AbortSignal => AbortSignal.timeout(20_000);
async function dialTo(server: Server): Promise<Dial> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
  });
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const { port } = server.address() as { port: number };
  return () => new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port }, () => resolve(behind(socket)));
    socket.once('error', reject);
  });
}
/** Another kind of stream than a socket, as a connection inside the guest is. */
function behind(socket: Socket): Duplex {
  const stream = new Duplex({
    read: () => void socket.resume(),
    write: (chunk, _, done) => void socket.write(chunk as Buffer, done),
    final: (done) => void socket.end(done),
    destroy(error, done) { socket.destroy(); done(error); },
  });
  socket.on('data', (chunk) => { if (!stream.push(chunk)) socket.pause(); });
  socket.on('end', () => stream.push(null));
  socket.on('error', () => stream.destroy());
  return stream;
}
const saying = (answer: string | Buffer, end = true): Server => createServer((socket) => { if (end) socket.end(answer); else socket.write(answer); });

test('http is told, whatever it answers', async () => {
  expect(await probeScheme(await dialTo(createHttp((_, response) => response.end('hello'))), long())).toBe('http');
  expect(await probeScheme(await dialTo(saying('HTTP/1.0 404 Not Found\r\n\r\n')), long())).toBe('http');
  expect(await probeScheme(await dialTo(saying('HTTP/1.1 400 Bad Request\r\n\r\n')), long())).toBe('http');
});

test('https is told, with a certificate of nobody', async () => {
  expect(await probeScheme(await dialTo(createHttps(tls, (_, response) => response.end('hello'))), long())).toBe('https');
});

test('https that answers plain words with 400 is https', async () => {
  const secure = await dialTo(createHttps(tls, (_, response) => response.end('hello')));
  const plain = await dialTo(saying('HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n'));
  let dials = 0;
  const both: Dial = (signal) => { dials += 1; return dials === 1 ? plain(signal) : secure(signal); };
  expect(await probeScheme(both, long())).toBe('https');
});

test.each([
  ['ssh', 'SSH-2.0-OpenSSH_9.2p1\r\n'], ['an end without a word', ''], ['half a status line', 'HTTP/1.1 2'], ['a status that is none', 'HTTP/1.1 999 x\r\n\r\n'],
  ['another protocol of that name', 'HTTP/2 200\r\n'], ['an alert and no TLS', Buffer.from([0x15, 3, 1, 0, 2, 2, 70])],
])('%s is neither', async (_, answer) => {
  expect(await probeScheme(await dialTo(saying(answer)), long())).toBeUndefined();
});

test('a flood is read no further than its beginning', async () => {
  let sent = 0;
  const dial = await dialTo(createServer((socket) => {
    const more = (): void => { while (!socket.destroyed && sent < 64 * 1024 * 1024) { sent += 65_536; if (!socket.write(Buffer.alloc(65_536, 'x'))) return; } };
    socket.on('drain', more);
    more();
  }));
  expect(await probeScheme(dial, long())).toBeUndefined();
  expect(sent).toBeLessThan(64 * 1024 * 1024);
});

test.each([['says nothing', ''], ['begins and waits', 'HTTP/1.']])('who %s is given up at the limit, in plain and in TLS', async (_, answer) => {
  const limit = new AbortController();
  const asked = probeScheme(await dialTo(createServer((socket) => { socket.write(answer); socket.once('data', () => limit.abort()); })), limit.signal);
  expect(await asked).toBeUndefined();
  const second = new AbortController();
  let dials = 0;
  // It ends the plain question and is silent to the hello of TLS.
  const dial = await dialTo(createServer((socket) => { dials += 1; if (dials === 1) socket.end(); else socket.once('data', () => second.abort()); }));
  expect(await probeScheme(dial, second.signal)).toBeUndefined();
  expect(dials).toBe(2);
});

test('a port that refuses, and a signal that is over, are neither', async () => {
  expect(await probeScheme(() => Promise.reject(new Error('refused')), long())).toBeUndefined();
  let dials = 0;
  expect(await probeScheme(() => { dials += 1; return Promise.reject(new Error('refused')); }, AbortSignal.abort())).toBeUndefined();
  expect(dials).toBe(0);
});
