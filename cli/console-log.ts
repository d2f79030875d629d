// Console logs by boot: printed as they are, or followed over rotation and reboots. The daemon names the files; they are read here.
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { VmLogsResult } from '../core/api.ts';
import { isBangerError } from '../core/errors.ts';

const pollMs = 200;
/** The daemon is asked for boots and for the end so many times more rarely than the file is read. */
const pollsPerQuestion = 4;
const blockBytes = 64 * 1024;

export type Sink = (bytes: Buffer) => void;
/** Asks the daemon; without a number for the last boot. */
export type AskLogs = (boot?: number) => Promise<VmLogsResult>;

/** Prints the whole log of one boot, oldest file first. */
export function printBoot(files: readonly string[], sink: Sink): void {
  new BootTail(files, sink).close();
}

/** Prints a boot's log and those of all later boots, until the VM has ended or is deleted. */
export async function followBoots(ask: AskLogs, first: VmLogsResult, sink: Sink): Promise<void> {
  let boot = first.boot ?? 0;
  const tail = new BootTail(first.files, sink);
  try {
    for (let now: VmLogsResult | undefined = first; now !== undefined;) {
      const next = now.boots.find((entry) => entry.boot > boot);
      const { grows } = now;
      if (next !== undefined) {
        const later = next.boot === now.boot ? now : await unlessGone(ask(next.boot));
        boot = next.boot;
        if (later !== undefined) tail.turnTo(later.files);
      } else if (grows) {
        await tail.read(pollsPerQuestion);
      } else {
        return;
      }
      now = await unlessGone(ask());
    }
  } finally {
    tail.close();
  }
}

/** A VM deleted meanwhile, or a boot whose log made room for others, is no error. */
async function unlessGone(question: Promise<VmLogsResult>): Promise<VmLogsResult | undefined> {
  try {
    return await question;
  } catch (error) {
    if (isBangerError(error) && error.code === 'not_found') return undefined;
    throw error;
  }
}

/** Reads the files of one boot, the last of which grows and may be rotated. */
class BootTail {
  readonly #sink: Sink;
  #path: string | undefined;
  #fd: number | undefined;
  #offset = 0;

  constructor(files: readonly string[], sink: Sink) {
    this.#sink = sink;
    this.#open(files);
  }

  /** Gives the rest of the boot, then begins with another. */
  turnTo(files: readonly string[]): void {
    this.close();
    this.#open(files);
  }

  async read(times: number): Promise<void> {
    for (let i = 0; i < times; i += 1) {
      this.#copy();
      await delay(pollMs);
    }
  }

  /** Gives the rest. */
  close(): void {
    this.#copy();
    this.#drop();
  }

  #open(files: readonly string[]): void {
    for (const file of files) {
      this.#drop();
      this.#path = file;
      this.#fd = openIfThere(file);
      this.#copyToEnd();
    }
  }

  #drop(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    this.#path = undefined;
    this.#offset = 0;
  }

  #copy(): void {
    this.#copyToEnd();
    if (this.#fd === undefined || this.#path === undefined || !isReplaced(this.#fd, this.#path)) return;
    // Between the read and the look more may have been written to it.
    this.#copyToEnd();
    this.#open([this.#path]);
  }

  #copyToEnd(): void {
    if (this.#fd === undefined) return;
    // Emptied in place, where the host has no room for a second file.
    if (fstatSync(this.#fd).size < this.#offset) this.#offset = 0;
    const block = Buffer.allocUnsafe(blockBytes);
    for (let got = readSync(this.#fd, block, 0, block.length, this.#offset); got > 0; got = readSync(this.#fd, block, 0, block.length, this.#offset)) {
      this.#sink(block.subarray(0, got));
      this.#offset += got;
    }
  }
}

function openIfThere(file: string): number | undefined {
  try {
    return openSync(file, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined; // rotated away, or pruned
    throw error;
  }
}

/** A file that is gone has no follower: the boot's log made room, or the VM was deleted. */
function isReplaced(fd: number, file: string): boolean {
  const there = statSync(file, { throwIfNoEntry: false });
  return there !== undefined && there.ino !== fstatSync(fd).ino;
}
