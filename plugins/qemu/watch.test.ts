import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Logger, Vm, Vms } from '../../core/plugin-api.ts';
import { createWatcher } from './watch.ts';
import type { Watcher } from './watch.ts';

const log: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
const vm = { id: 'a1b2c3d4e5f6', name: 'devbox' } as Vm;
const limit = { timeout: 10_000 };

let dir: string;
let path: string;
let server: Server;
let peer: Socket | undefined;
let told: string[];
let watcher: Watcher;
let isRunning: () => boolean;
/** What the VMM says that it is at. */
let status: string;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'banger-watch-'));
  path = join(dir, 'q');
  told = [];
  isRunning = () => true;
  status = 'running';
  const vms: Vms = {
    get: () => vm, list: () => [vm], isRunning: () => isRunning(), process: () => undefined, paused: (_id, isPaused) => told.push(isPaused ? 'paused' : 'goes on'), isPaused: () => false, resolve: () => vm, running: () => Promise.resolve(vm), onChange: () => () => {},
    ended: (_id, reason) => told.push(`ended ${reason}`), rebooted: () => told.push('rebooted'), note: (_id, text) => told.push(text),
  };
  watcher = createWatcher(vms, log, { retryMs: 10 });
  server = createServer((socket) => {
    peer = socket;
    socket.on('error', () => {});
    socket.write('{"QMP": {}}\n');
    socket.on('data', (chunk) => {
      const { id, execute } = JSON.parse(String(chunk)) as { id: number; execute: string };
      socket.write(`${JSON.stringify({ id, return: execute === 'query-status' ? { status } : {} })}\n`);
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  await watcher.attach(vm, path, { timeoutMs: 10_000 });
});
afterEach(() => {
  watcher.detachAll();
  peer?.destroy();
  server.close();
  rmSync(dir, { recursive: true, force: true });
});
const raise = (event: string, data: object, seconds = 1): void => {
  peer?.write(`${JSON.stringify({ event, data, timestamp: { seconds, microseconds: 0 } })}\n`);
};

test.each(['guest-shutdown', 'host-signal', undefined])('tells that the VMM ended after %s, and not why: what it leaves says that', async (reason) => {
  if (reason !== undefined) raise('SHUTDOWN', { guest: true, reason });
  peer?.end();
  await expect.poll(() => told, limit).toEqual(['ended unknown']);
});

test('leaves the counting of reboots to the agent, which knows one boot from the next also after a daemon restart', async () => {
  raise('RESET', { guest: true, reason: 'guest-reset' }, 10);
  raise('RESET', { guest: true, reason: 'guest-reset' }, 30);
  peer?.end();
  await expect.poll(() => told, limit).toEqual(['ended unknown']);
});

test('tells a full host disk once', async () => {
  const data = { device: '', operation: 'write', action: 'report', reason: 'No space left on device' };
  raise('BLOCK_IO_ERROR', { ...data, reason: 'Input/output error' });
  // Of a VMM that its guest has taken over.
  raise('BLOCK_IO_ERROR', { ...data, reason: { toString: 1 } });
  raise('BLOCK_IO_ERROR', data);
  raise('BLOCK_IO_ERROR', data);
  peer?.end();
  await expect.poll(() => told, limit).toEqual(['host disk full: writes of the guest fail', 'ended unknown']);
  // Who looks into the end still knows; the next VMM begins anew.
  expect(watcher.isDiskFull(vm.id)).toBe(true);
  await watcher.attach(vm, path, { timeoutMs: 10_000 });
  expect(watcher.isDiskFull(vm.id)).toBe(false);
});

test('tells that the CPUs of the guest stand still and go on, but not of a VMM at its end', async () => {
  raise('STOP', {});
  raise('RESUME', {});
  raise('SHUTDOWN', { guest: true, reason: 'guest-shutdown' });
  raise('STOP', {});
  peer?.end();
  await expect.poll(() => told, limit).toEqual(['paused', 'goes on', 'ended unknown']);
});

test.each([['paused', ['paused']], ['running', []], ['io-error', []]])('asks a VMM that was there before the daemon whether it is paused: %s', async (answer, expected) => {
  status = answer;
  await watcher.adopt(vm, path, { timeoutMs: 10_000 });
  expect(told).toEqual(expected);
});

test('a VMM that is frozen when the daemon comes up is watched once it answers again', async () => {
  watcher.detachAll();
  const answering = server.listeners('connection')[0] as (socket: Socket) => void;
  const silent: Socket[] = [];
  server.removeAllListeners('connection').on('connection', (socket) => { silent.push(socket.on('error', () => {})); });
  await expect(watcher.adopt(vm, path, { timeoutMs: 50 })).rejects.toMatchObject({ code: 'timeout' });
  expect(watcher.client(vm.id)).toBeUndefined();
  server.removeAllListeners('connection').on('connection', answering);
  status = 'paused';
  await expect.poll(() => told, limit).toEqual(['paused']);
  expect(watcher.client(vm.id)).toBeDefined();
  raise('SHUTDOWN', { guest: true, reason: 'guest-shutdown' });
  peer?.end();
  await expect.poll(() => told, limit).toEqual(['paused', 'ended unknown']);
  for (const socket of silent) socket.destroy();
});

test('a VMM that did not answer is not tried again once its VM has ended, though nobody let go of it', async () => {
  watcher.detachAll();
  let connections = 0;
  const silent: Socket[] = [];
  server.removeAllListeners('connection').on('connection', (socket) => {
    connections += 1;
    silent.push(socket.on('error', () => {}));
  });
  let looks = 0;
  isRunning = () => { looks += 1; return false; };
  await expect(watcher.adopt(vm, path, { timeoutMs: 50 })).rejects.toMatchObject({ code: 'timeout' });
  await expect.poll(() => looks, limit).toBe(1);
  expect(connections).toBe(1);
  for (const socket of silent) socket.destroy();
});

test('a connection handed over or let go tells nothing', async () => {
  const client = watcher.release(vm.id);
  await watcher.attach(vm, path, { timeoutMs: 10_000 });
  watcher.detachAll();
  const closed = new Promise<void>((resolve) => client?.onClose(resolve));
  client?.close();
  await closed;
  expect(told).toEqual([]);
  expect(watcher.client(vm.id)).toBeUndefined();
});
