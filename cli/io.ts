// What a command writes to and learns about its caller. Small writes go straight to the descriptor: loading Node's stream
// classes for a table of ten lines would cost more than the table.
import { fstatSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';

export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Terminal or not, by descriptor. */
  isTty(fd: 0 | 1 | 2): boolean;
  /** Writes text to stdout. @throws BrokenPipe */
  out(text: string): void;
  err(text: string): void;
}

/** The reader of our stdout is gone; ends the command quietly, as SIGPIPE ends cat. */
export class BrokenPipe extends Error {
  override readonly name = 'BrokenPipe';
}
/** 128 + SIGPIPE. */
export const brokenPipeExitCode = 141;

/** Writes everything, also to a descriptor that somebody set to non-blocking. */
export function writeAll(fd: number, text: string | Uint8Array): void {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text;
  let done = 0;
  while (done < bytes.length) {
    try {
      done += writeSync(fd, bytes, done);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EPIPE') throw new BrokenPipe('stdout is closed', { cause: error });
      if (code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
    }
  }
}

/** Only a character device can be a terminal, so that pipes and files never load the tty module. */
function isTerminal(fd: number): boolean {
  try {
    return fstatSync(fd).isCharacterDevice() && isatty(fd);
  } catch {
    return false; // closed
  }
}

/** The process's own descriptors and environment. */
export function processIo(): Io {
  const known = new Map<number, boolean>();
  return {
    env: process.env,
    isTty(fd) {
      const value = known.get(fd) ?? isTerminal(fd);
      known.set(fd, value);
      return value;
    },
    out: (text) => writeAll(1, text),
    err(text) {
      try {
        writeAll(2, text);
      } catch {
        // Nobody hears the complaint; the exit code still tells.
      }
    },
  };
}
