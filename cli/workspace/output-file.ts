// A file that appears whole or not at all: written beside its place, and renamed when its end is known to be right.
import { randomBytes } from 'node:crypto';
import { chmodSync, fsyncSync, openSync, realpathSync, renameSync, rmSync, statSync, writeSync, closeSync, type Stats } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { operationFailed } from '../../core/errors.ts';
import { writeAll } from '../io.ts';
import type { Output } from '../output.ts';

export interface OutputFile extends Output {
  /** Puts the file in its place. */
  keep(): void;
  /** Removes what was written, unless it is kept. Safe to call again. */
  dispose(): void;
}

/** Opens a file for bytes. A device or pipe at the path is written to as it is. @throws operation_failed when it cannot be made */
export function openOutputFile(path: string): OutputFile {
  const before = statSync(path, { throwIfNoEntry: false });
  try {
    return before !== undefined && !before.isFile() ? openDevice(path) : openBeside(path, before);
  } catch (error) {
    throw operationFailed(`${path} cannot be written (${(error as NodeJS.ErrnoException).code ?? 'unknown'})`, { cause: error });
  }
}

function openDevice(path: string): OutputFile {
  const fd = openSync(path, 'w');
  let open = true;
  const close = (): void => {
    if (open) closeSync(fd);
    open = false;
  };
  return { write: async (bytes) => writeAll(fd, bytes), keep: close, dispose: close };
}

function openBeside(path: string, before: Stats | undefined): OutputFile {
  // Where a link leads, the link stays.
  const target = before === undefined ? resolve(path) : realpathSync(path);
  const staged = join(dirname(target), `.banger-${randomBytes(6).toString('hex')}`);
  const fd = openSync(staged, 'wx');
  let state: 'open' | 'done' = 'open';
  const remove = (): void => {
    if (state === 'done') return;
    state = 'done';
    process.off('exit', remove);
    closeSync(fd);
    rmSync(staged, { force: true });
  };
  // process.exit, as on a lost terminal, passes here too.
  process.on('exit', remove);
  return {
    async write(bytes) {
      for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done);
    },
    keep() {
      if (before !== undefined) chmodSync(staged, before.mode & 0o7777);
      fsyncSync(fd);
      renameSync(staged, target);
      state = 'done';
      process.off('exit', remove);
      closeSync(fd);
    },
    dispose: remove,
  };
}
