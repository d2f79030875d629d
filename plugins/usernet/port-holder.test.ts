import { createSocket } from 'node:dgram';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { findPortHolder } from './port-holder.ts';

test('names the process that has a port, TCP and UDP apart', async () => {
  const address = `127.35.${process.pid >> 8 & 255}.${process.pid & 255}`;
  const server = createServer().listen(0, address);
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => { socket.bind(0, address, resolve); });
  const udpPort = socket.address().port;
  const self = expect.stringContaining(`(pid ${process.pid})`) as string;
  try {
    expect(findPortHolder({ protocol: 'tcp', address, port })).toEqual(self);
    expect(findPortHolder({ protocol: 'tcp', address: '0.0.0.0', port })).toEqual(self);
    expect(findPortHolder({ protocol: 'udp', address, port: udpPort })).toEqual(self);
    expect(findPortHolder({ protocol: 'tcp', address: '127.35.0.0', port })).toBeUndefined();
    server.close();
    await new Promise((resolve) => server.once('close', resolve));
    expect(findPortHolder({ protocol: 'tcp', address, port })).toBeUndefined();
    expect(findPortHolder({ protocol: 'tcp', address, port: udpPort })).toBeUndefined();
  } finally {
    server.close();
    socket.close();
  }
});

test('names a process that listens on all addresses of both families', async (ctx) => {
  const server = createServer();
  const problem = await new Promise<Error | undefined>((resolve) => { server.once('error', resolve).listen(0, '::', () => resolve(undefined)); });
  if (problem !== undefined) ctx.skip(`this host has no IPv6: ${problem.message}`);
  const { port } = server.address() as { port: number };
  try {
    expect(findPortHolder({ protocol: 'tcp', address: '127.35.0.1', port })).toContain(`(pid ${process.pid})`);
    expect(findPortHolder({ protocol: 'tcp', address: '0.0.0.0', port })).toContain(`(pid ${process.pid})`);
  } finally {
    server.close();
  }
});

test('remembers for a minute who has a socket: all descriptors of this host are not read again for each try', () => {
  const proc = mkdtempSync(join(tmpdir(), 'banger-holder-'));
  onTestFinished(() => { rmSync(proc, { recursive: true }); });
  mkdirSync(join(proc, 'net'));
  mkdirSync(join(proc, '812/fd'), { recursive: true });
  writeFileSync(join(proc, 'net/tcp'), 'header\n 0: 00000000:0050 00000000:0000 0A 0:0 0:0 0 0 0 4711 1\n');
  writeFileSync(join(proc, '812/comm'), 'nginx\n');
  symlinkSync('socket:[4711]', join(proc, '812/fd/3'));
  let now = 5;
  const holder = (): string | undefined => findPortHolder({ protocol: 'tcp', address: '127.0.0.1', port: 80 }, { proc, now: () => now });
  expect(holder()).toBe('nginx (pid 812)');
  rmSync(join(proc, '812'), { recursive: true });
  now += 59_999;
  expect(holder()).toBe('nginx (pid 812)');
  now += 1;
  expect(holder()).toBeUndefined();
});
