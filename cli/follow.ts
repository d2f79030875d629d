// Log files: printed as they are, or followed over rotation. The daemon names the files; they are read here.
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { isBangerError } from '../core/errors.ts';
import { writeAll, type Io } from './io.ts';

const pollMs = 200;
const blockBytes = 64 * 1024;

/** Copies from an offset to the end; answers the new offset. */
function copyFrom(fd: number, offset: number): number {
  const block = Buffer.allocUnsafe(blockBytes);
  let position = offset;
  for (;;) {
    const got = readSync(fd, block, 0, block.length, position);
    if (got === 0) return position;
    writeAll(1, block.subarray(0, got));
    position += got;
  }
}

function openIfThere(file: string): number | undefined {
  try {
    return openSync(file, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined; // rotated away, or never written
    throw error;
  }
}

/** Prints whole files, oldest first. */
export function printFiles(files: readonly string[], io: Io, tailLines?: number): void {
  void io;
  for (const file of files) {
    const fd = openIfThere(file);
    if (fd === undefined) continue;
    try {
      copyFrom(fd, tailLines === undefined ? 0 : offsetOfLastLines(fd, tailLines));
    } finally {
      closeSync(fd);
    }
  }
}

/** Where the last lines begin. */
export function offsetOfLastLines(fd: number, lines: number): number {
  let position = fstatSync(fd).size;
  let left = lines + 1; // the newline before the first wanted line
  const block = Buffer.allocUnsafe(blockBytes);
  const end = position;
  while (position > 0) {
    const size = Math.min(position, block.length);
    readSync(fd, block, 0, size, position - size);
    for (let i = size - 1; i >= 0; i -= 1) {
      if (block[i] !== 0x0a || position - size + i === end - 1) continue; // the last line's own end
      left -= 1;
      if (left <= 1) return position - size + i + 1;
    }
    position -= size;
  }
  return 0;
}

/** Prints what there is, then what is added, until the files are gone (the VM was deleted) or the process is interrupted. */
export async function followFiles(list: () => Promise<readonly string[]>, io: Io, tailLines?: number): Promise<void> {
  let files = await list();
  printFiles(files.slice(0, -1), io);
  let current = files.at(-1);
  let fd = current === undefined ? undefined : openIfThere(current);
  let offset = fd === undefined || tailLines === undefined ? 0 : offsetOfLastLines(fd, tailLines);
  for (;;) {
    if (fd !== undefined) offset = copyFrom(fd, offset);
    if (fd === undefined || current === undefined || isReplaced(fd, current)) {
      if (fd !== undefined) {
        copyFrom(fd, offset);
        closeSync(fd);
      }
      try {
        files = await list();
      } catch (error) {
        if (isBangerError(error) && error.code === 'not_found') return;
        throw error;
      }
      current = files.at(-1);
      fd = current === undefined ? undefined : openIfThere(current);
      offset = 0;
    } else if (fstatSync(fd).size < offset) {
      offset = 0; // truncated in place
    }
    await delay(pollMs);
  }
}

function isReplaced(fd: number, file: string): boolean {
  try {
    return statSync(file).ino !== fstatSync(fd).ino;
  } catch {
    return true; // renamed or deleted
  }
}
