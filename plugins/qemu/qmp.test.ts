import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { connectQmp } from './qmp.ts';
import type { QmpEvent } from './qmp.ts';

const greeting = '{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}\r\n';
interface Request { readonly execute: string; readonly id: number; readonly arguments: object }

let dir: string;
let path: string;
const servers: Server[] = [];
const sockets: Socket[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'banger-qmp-'));
  path = join(dir, 'q');
});
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const server of servers.splice(0)) server.close();
  rmSync(dir, { recursive: true, force: true });
});

/** A scripted VMM: greets, accepts the negotiation, and hands every later request to `answer`. */
async function serve(answer: (request: Request, socket: Socket) => void, hello = greeting): Promise<void> {
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    socket.write(hello);
    let text = '';
    socket.on('data', (chunk) => {
      text += String(chunk);
      for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
        const request = JSON.parse(text.slice(0, end)) as Request;
        text = text.slice(end + 1);
        if (request.execute === 'qmp_capabilities') socket.write(`{"return": {}, "id": ${request.id}}\r\n`);
        else answer(request, socket);
      }
    });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(path, resolve));
}
const limit = { timeoutMs: 10_000 };

describe('connectQmp', () => {
  test('negotiates, then answers by id whatever the order', async () => {
    const held: Request[] = [];
    await serve((request, socket) => {
      held.push(request);
      if (held.length === 2) for (const r of held.toReversed()) socket.write(`{"return": "${r.execute}", "id": ${r.id}}\r\n`);
    });
    const client = await connectQmp(path, limit);
    expect(await Promise.all([client.execute('one'), client.execute('two')])).toEqual(['one', 'two']);
    client.close();
  });

  test('passes events on, also one that is cut into pieces', async () => {
    const events: QmpEvent[] = [];
    await serve((request, socket) => {
      socket.write('{"event": "RESET", "da');
      setImmediate(() => socket.write(`ta": {"guest": true}, "timestamp": {"seconds": 12, "microseconds": 500000}}\r\n{"return": 1, "id": ${request.id}}\r\n`));
    });
    const client = await connectQmp(path, { ...limit, onEvent: (event) => events.push(event) });
    await client.execute('x');
    expect(events).toEqual([{ event: 'RESET', data: { guest: true }, atMs: 12_500 }]);
    client.close();
  });

  test('gives QEMU\'s own words for a refusal', async () => {
    await serve((request, socket) => socket.write(`{"error": {"class": "GenericError", "desc": "no such thing"}, "id": ${request.id}}\r\n`));
    const client = await connectQmp(path, limit);
    await expect(client.execute('device_add')).rejects.toMatchObject({ code: 'operation_failed', message: 'QEMU refused device_add: no such thing' });
    client.close();
  });

  test.each(['null', '7', '{"desc": {"toString": 1}}'])('takes %s for a refusal without a reason', async (error) => {
    await serve((request, socket) => socket.write(`{"return": 1, "id": {"toString": 1}}\r\n{"error": ${error}, "id": ${request.id}}\r\n`));
    const client = await connectQmp(path, limit);
    await expect(client.execute('stop')).rejects.toMatchObject({ code: 'operation_failed', message: 'QEMU refused stop: no reason given' });
    client.close();
  });

  test('a frozen VMM fails the call at its deadline and the session lives on', async () => {
    let stuck: Request | undefined;
    await serve((request, socket) => {
      if (request.execute === 'slow') stuck = request;
      else socket.write(`{"return": "late", "id": ${stuck?.id}}\r\n{"return": "ok", "id": ${request.id}}\r\n`);
    });
    const client = await connectQmp(path, limit);
    await expect(client.execute('slow', {}, { timeoutMs: 30 })).rejects.toMatchObject({ code: 'timeout' });
    expect(await client.execute('next')).toBe('ok');
    client.close();
  });

  test('a VMM that never greets is given up', async () => {
    await serve(() => {}, '');
    await expect(connectQmp(path, { timeoutMs: 50 })).rejects.toMatchObject({ code: 'timeout' });
  });

  test('nobody listening is an error at once', async () => {
    await expect(connectQmp(path, limit)).rejects.toMatchObject({ code: 'operation_failed' });
  });

  test('an abort ends the wait', async () => {
    await serve(() => {}, '');
    await expect(connectQmp(path, { ...limit, signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'cancelled' });
  });

  test('the end of the connection fails what is pending and is told once', async () => {
    await serve((_request, socket) => socket.destroy());
    const client = await connectQmp(path, limit);
    let closed = 0;
    client.onClose(() => closed++);
    await expect(client.execute('x')).rejects.toMatchObject({ code: 'operation_failed' });
    await expect(client.execute('y')).rejects.toMatchObject({ code: 'operation_failed' });
    client.close();
    expect(closed).toBe(1);
  });

  test.each([['garbage', 'hello\r\n'], ['a list', '[]\r\n'], ['null', 'null\r\n']])('ends the session on %s', async (_name, text) => {
    await serve((_request, socket) => socket.write(text));
    const client = await connectQmp(path, limit);
    await expect(client.execute('x')).rejects.toMatchObject({ message: 'The VMM sent what is not QMP' });
  });

  test('ends the session on a line without end instead of growing', async () => {
    await serve((_request, socket) => { for (let i = 0; i < 80; i++) socket.write('x'.repeat(65_536)); });
    const client = await connectQmp(path, limit);
    await expect(client.execute('x')).rejects.toMatchObject({ message: 'The VMM sent an endless line' });
  });
});

const binary = '/usr/bin/qemu-system-x86_64';
test('speaks with a real QEMU and sees it shut down', async ({ skip }) => {
  skip(!existsSync(binary), `${binary} is not there`);
  const child = spawn(binary, ['-S', '-nodefaults', '-M', 'none', '-display', 'none', '-no-user-config', '-qmp', `unix:${path},server=on,wait=on`], { stdio: 'ignore' });
  try {
    await expect.poll(() => existsSync(path), { timeout: 20_000 }).toBe(true);
    const events: string[] = [];
    const client = await connectQmp(path, { timeoutMs: 20_000, onEvent: ({ event }) => events.push(event) });
    expect(await client.execute('query-status')).toMatchObject({ running: false });
    await expect(client.execute('no-such-command')).rejects.toMatchObject({ message: expect.stringContaining('no-such-command') });
    const closed = new Promise<void>((resolve) => client.onClose(resolve));
    await client.execute('quit');
    await closed;
    expect(events).toContain('SHUTDOWN');
  } finally {
    child.kill('SIGKILL');
  }
}, 60_000);
