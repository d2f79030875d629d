// Takes the state directory, waiting for a daemon that is on its way out: it has left its socket, but still ends its plugins.
import { connect as connectSocket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { isBangerError } from '../errors.ts';
import type { Paths } from '../paths.ts';
import { lockStateDir } from '../store/database.ts';
import type { StateLock } from '../store/database.ts';

const limitMs = 30_000;
const retryMs = 50;
const answerMs = 1000;

/** @throws busy when another daemon serves, or does not end within 30 s */
export async function takeStateDir(paths: Pick<Paths, 'stateDir' | 'socket'>): Promise<StateLock> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    try {
      return lockStateDir(paths.stateDir);
    } catch (error) {
      const isHeld = isBangerError(error) && error.code === 'busy';
      if (!isHeld || performance.now() > deadline || await answers(paths.socket)) throw error;
    }
    await delay(retryMs);
  }
}

/**
 * Whether a daemon says a byte, or keeps the connection for longer than one that ends would.
 *
 * To connect is not enough: one that was killed takes connections until its last thread is gone.
 */
function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectSocket(socketPath);
    const settle = (serves: boolean): void => {
      socket.destroy();
      resolve(serves);
    };
    socket.setTimeout(answerMs, () => settle(true));
    socket.on('connect', () => socket.write('{"jsonrpc":"2.0","id":1,"method":"ping","params":{}}\n'));
    socket.on('data', () => settle(true));
    socket.on('error', () => settle(false));
    socket.on('close', () => settle(false));
  });
}
