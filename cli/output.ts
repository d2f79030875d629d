// Byte output with back-pressure. Node writes to pipes synchronously: a slow reader would stop the event loop, and with it
// Ctrl-C and window changes. So pipes and sockets get a stream of their own; Node puts the descriptor's mode back at exit.
import { fstatSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { BrokenPipe } from './io.ts';

export interface Output {
  /** Resolves when the bytes are out. @throws BrokenPipe when the reader is gone */
  write(bytes: Uint8Array): Promise<void>;
}

/** Wraps a stream; errors arrive at the write that met them. */
export function outputTo(stream: Writable): Output {
  let failure: Error | undefined;
  const pending = new Set<(error: Error) => void>();
  const fail = (error: NodeJS.ErrnoException): void => {
    failure ??= error.code === 'EPIPE' || error.code === 'ECONNRESET' ? new BrokenPipe('the output is closed', { cause: error }) : error;
    for (const reject of pending) reject(failure);
    pending.clear();
  };
  stream.on('error', fail);
  return {
    write(bytes) {
      if (failure) return Promise.reject(failure);
      return new Promise((resolve, reject) => {
        pending.add(reject);
        stream.write(bytes, (error) => {
          if (error) return fail(error);
          pending.delete(reject);
          resolve();
        });
      });
    },
  };
}

/** Output to stdout or stderr of this process. */
export function processOutput(fd: 1 | 2): Output {
  const stat = fstatSync(fd);
  if (stat.isFIFO() || stat.isSocket()) return outputTo(new Socket({ fd, readable: false, writable: true }));
  return outputTo(fd === 1 ? process.stdout : process.stderr);
}
