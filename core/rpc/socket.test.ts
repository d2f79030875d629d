import { fork } from 'node:child_process';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { listenOnSocket } from './socket.ts';

async function place(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'banger-sock-'));
  onTestFinished(() => rm(dir, { recursive: true }));
  return join(dir, 's');
}
function server(): ReturnType<typeof createServer> {
  const made = createServer((socket) => socket.destroy());
  onTestFinished(() => new Promise<void>((resolve) => void made.close(() => resolve())));
  return made;
}

test('the socket is closed to others from its first moment, and the process keeps its umask', async () => {
  const path = await place();
  const before = process.umask(0o022);
  onTestFinished(() => void process.umask(before));
  const listener = server();
  const listen = listener.listen.bind(listener) as (...args: unknown[]) => typeof listener;
  const modes: number[] = [];
  // Node binds before `listen` returns: this looks at the earliest moment at which the file is there.
  listener.listen = (...args: unknown[]) => {
    const result = listen(...args);
    modes.push(statSync(path).mode & 0o077);
    return result;
  };
  await listenOnSocket(listener, path);
  modes.push((await stat(path)).mode & 0o777);
  expect(modes).toEqual([0, 0o600]);
  expect(process.umask()).toBe(0o022);
});

test('a socket that a killed daemon left is replaced', async () => {
  const path = await place();
  const script = `${path}.mjs`;
  await writeFile(script, `import { createServer } from 'node:net'; createServer().listen(${JSON.stringify(path)}, () => process.send('up'));`);
  const child = fork(script, { execArgv: [] });
  await once(child, 'message');
  await expect(listenOnSocket(server(), path)).rejects.toMatchObject({ code: 'busy' });
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect((await stat(path)).isSocket()).toBe(true);
  await listenOnSocket(server(), path);
  const client = connect({ path });
  await once(client, 'connect');
  client.destroy();
});

test('a daemon that answers keeps its socket', async () => {
  const path = await place();
  await listenOnSocket(server(), path);
  await expect(listenOnSocket(server(), path)).rejects.toMatchObject({ code: 'busy', message: expect.stringContaining(path) as string });
  const client = connect({ path });
  await once(client, 'connect');
  client.destroy();
});

test('what is no socket is left alone', async () => {
  const path = await place();
  await writeFile(path, 'precious');
  await expect(listenOnSocket(server(), path)).rejects.toMatchObject({ code: 'operation_failed' });
  expect((await stat(path)).size).toBe(8);
  await rm(path);
  await symlink('/etc/hostname', path);
  await expect(listenOnSocket(server(), path)).rejects.toMatchObject({ code: 'operation_failed' });
});

test('a path that cannot be bound is an error that says so', async () => {
  const path = await place();
  await expect(listenOnSocket(server(), join(path, 'missing', 's'))).rejects.toMatchObject({ code: 'operation_failed', message: expect.stringContaining('missing') as string });
  await expect(listenOnSocket(server(), `${path}${'x'.repeat(200)}`)).rejects.toMatchObject({ code: 'operation_failed' });
});
