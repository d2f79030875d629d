import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { lockStateDir } from '../store/database.ts';
import { takeStateDir } from './take-over.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'banger-lock-'));
});
afterEach(() => {
  rmSync(dir, { recursive: true });
});

async function serve(path: string, meet: (client: Socket) => void): Promise<Server> {
  const server = createServer(meet).listen(path);
  await new Promise((resolve) => server.once('listening', resolve));
  return server;
}

test('waits for a daemon that ends', async () => {
  const held = lockStateDir(dir);
  const taken = takeStateDir({ stateDir: dir, socket: join(dir, 'sock') });
  setTimeout(() => held.release(), 120);
  (await taken).release();
});

test('gives way at once to one that serves', async () => {
  const held = lockStateDir(dir);
  const socket = join(dir, 'sock');
  const server = await serve(socket, (client) => client.once('data', () => client.end('{}\n')));
  await expect(takeStateDir({ stateDir: dir, socket })).rejects.toMatchObject({ code: 'busy' });
  server.close();
  held.release();
});

test('gives way to one that is stopped and takes connections', async () => {
  const held = lockStateDir(dir);
  const socket = join(dir, 'sock');
  const server = await serve(socket, (client) => client.on('error', () => undefined));
  await expect(takeStateDir({ stateDir: dir, socket })).rejects.toMatchObject({ code: 'busy' });
  server.close();
  held.release();
});

test('waits for one that was killed: it takes connections until its last thread is gone, and breaks them', async () => {
  const held = lockStateDir(dir);
  const socket = join(dir, 'sock');
  const server = await serve(socket, (client) => {
    client.destroy();
    server.close(() => held.release());
  });
  (await takeStateDir({ stateDir: dir, socket })).release();
});
