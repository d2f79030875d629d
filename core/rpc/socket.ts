// The daemon's listening socket: never open to others, never stolen from a daemon that answers.
import { chmod, lstat, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import type { Server } from 'node:net';
import { busy, operationFailed } from '../errors.ts';

/** How long a daemon that holds the socket may take to accept; past it the socket counts as held. */
const probeMs = 2_000;
const backlog = 2_048;

/**
 * Binds and listens; the file has mode 0600.
 *
 * A socket file that nobody answers on is removed first.
 * @throws busy when somebody answers; operation_failed when something else is in the way or the path cannot be bound
 */
export async function listenOnSocket(server: Server, path: string): Promise<void> {
  await removeStaleSocket(path);
  try {
    await bind(server, path);
  } catch (error) {
    if (errorCode(error) === 'EADDRINUSE') throw busy(`Socket ${path}`, 'another daemon listens on it');
    throw operationFailed(`Cannot listen on ${path}`, { cause: error, detail: { reason: errorCode(error) } });
  }
  await chmod(path, 0o600);
}

function bind(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // Node binds a path before `listen` returns, so the narrow umask covers exactly that. 077 and not 177: a directory that a worker
    // thread makes in this instant must stay usable.
    const before = process.umask(0o077);
    try {
      server.listen({ path, backlog }, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(before);
    }
  });
}

async function removeStaleSocket(path: string): Promise<void> {
  let found;
  try {
    found = await lstat(path);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return;
    throw operationFailed(`Cannot look at ${path}`, { cause: error });
  }
  if (!found.isSocket()) throw operationFailed(`${path} is in the way and is not a socket`, { hint: 'move it away' });
  if (await isAnswered(path)) throw busy(`Socket ${path}`, 'another daemon listens on it');
  await unlink(path);
}

/** Anything but a refusal counts as an answer: a full backlog or a hung daemon still owns its socket. */
function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const settle = (answered: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answered);
    };
    const timer = setTimeout(() => settle(true), probeMs);
    socket.once('connect', () => settle(true));
    socket.once('error', (error) => settle(errorCode(error) !== 'ECONNREFUSED' && errorCode(error) !== 'ENOENT'));
  });
}

function errorCode(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
