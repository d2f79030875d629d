import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { HostInfo, Vm } from '../../core/plugin-api.ts';
import { adoptEarlierLog, consoleBoots } from './console.ts';
import { createQemuDriver } from './driver.ts';
import { qemuConfig } from './schema.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'banger-console-'));
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});
const write = (...names: string[]): void => {
  for (const name of names) writeFileSync(join(dir, name), name);
};

describe('logs by boot', () => {
  test('are numbered by their files, oldest first, with the older part before the newer', () => {
    mkdirSync(join(dir, 'console'));
    write('console/10.log', 'console/9.log', 'console/9.log.1', 'console/011.log', 'console/0.log', 'console/x.log', 'console/12.log.2', 'console/12');
    expect(consoleBoots(dir)).toEqual([
      { boot: 9, files: [join(dir, 'console/9.log.1'), join(dir, 'console/9.log')] },
      { boot: 10, files: [join(dir, 'console/10.log')] },
    ]);
  });

  test('are none before the first start', () => {
    expect(consoleBoots(dir)).toEqual([]);
  });

  test('of a version that had one log are the first boot, before and after the next start', async () => {
    write('console.log', 'console.log.1');
    expect(consoleBoots(dir)).toEqual([{ boot: 1, files: [join(dir, 'console.log.1'), join(dir, 'console.log')] }]);
    await adoptEarlierLog(dir);
    expect(consoleBoots(dir)).toEqual([{ boot: 1, files: [join(dir, 'console/1.log.1'), join(dir, 'console/1.log')] }]);
    expect(readFileSync(join(dir, 'console/1.log'), 'utf8')).toBe('console.log');
    await adoptEarlierLog(dir);
    expect(readdirSync(dir)).toEqual(['console']);
  });
});

describe('connectConsole', () => {
  const vm = { id: 'a1b2c3d4e5f6', name: 'devbox' } as Vm;
  let server: Server | undefined;
  let peers: Socket[];
  beforeEach(() => {
    peers = [];
  });
  afterEach(() => {
    for (const peer of peers) peer.destroy();
    server?.close();
    server = undefined;
  });
  const connect = (signal: AbortSignal = AbortSignal.timeout(10_000)) => {
    const host = { socketPath: (_id: string, name: string) => join(dir, name) } as HostInfo;
    const exec = { find: () => Promise.resolve('/usr/bin/qemu') } as never;
    const driver = createQemuDriver({ watcher: { client: () => undefined }, exec, host, config: qemuConfig.parse({}), accel: { name: 'tcg', reason: 'test' } });
    return driver.connectConsole!(vm, signal);
  };
  const serve = async (answer: (socket: Socket) => void): Promise<void> => {
    server = createServer((socket) => {
      peers.push(socket.on('error', () => undefined));
      answer(socket);
    });
    await new Promise<void>((resolve) => server!.listen(join(dir, 'console'), resolve));
  };

  test('gives what follows the greeting, whatever pieces it comes in', async () => {
    await serve((socket) => {
      socket.write('o');
      setImmediate(() => socket.write('k\nfirst'));
      socket.on('data', (data) => socket.write(data));
    });
    const console = await connect();
    console.write(' second');
    let text = '';
    console.on('data', (chunk: Buffer) => { text += chunk.toString(); });
    await expect.poll(() => text).toBe('first second');
    console.destroy();
  });

  test.each([
    ['busy', (socket: Socket) => socket.end('busy\n'), 'busy'],
    ['a greeting of another kind', (socket: Socket) => socket.write('hello\n'), 'operation_failed'],
    ['a line without end', (socket: Socket) => socket.write('x'.repeat(1000)), 'operation_failed'],
    ['a connection that is closed', (socket: Socket) => socket.end(), 'operation_failed'],
  ])('%s is an error, and the connection is closed', async (_name, answer, code) => {
    await serve(answer);
    await expect(connect()).rejects.toMatchObject({ code });
    await expect.poll(() => peers.every((peer) => peer.destroyed || peer.readableEnded)).toBe(true);
  });

  test('a VM that does not run, and one from before consoles, are told apart', async () => {
    await expect(connect()).rejects.toMatchObject({ code: 'not_running' });
    write('agent');
    await expect(connect()).rejects.toMatchObject({ code: 'unsupported', hint: 'banger vm restart devbox' });
    expect(existsSync(join(dir, 'console'))).toBe(false);
  });
});
