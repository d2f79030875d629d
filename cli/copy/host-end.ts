// This host's end of a copy: the program that both ends share, as a child process with pipes.
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { missingRequirement, operationFailed } from '../../core/errors.ts';
import { nativeDir } from '../../core/paths.ts';
import type { EndResult, Sink, Source } from './end.ts';
import { EndLines } from './lines.ts';

export interface HostEndOptions {
  /** A line of its stderr. */
  readonly say: (line: string) => void;
  /** What it is at, a few times a second. */
  readonly onName: (name: string) => void;
  /** @default dist/native/copy */
  readonly program?: string;
}

/** Descriptor of the progress lines in the child. */
const progressFd = 3;

export class HostEnd implements Source, Sink {
  readonly label = 'host';
  readonly ended: Promise<EndResult>;
  readonly lines: EndLines;
  readonly #child: ChildProcess;
  /** The last piece of a stream has been taken: the child may end before. */
  readonly #taken = Promise.withResolvers<void>();
  #gone = false;

  /** `words`: verb, flags, `--` and paths. */
  constructor(words: readonly string[], options: HostEndOptions) {
    const [verb, ...rest] = words;
    this.lines = new EndLines(options.say);
    const program = options.program ?? join(nativeDir(), 'copy');
    const child = spawn(program, [verb!, '--progress-fd', String(progressFd), ...rest], {
      stdio: [verb === 'receive' ? 'pipe' : 'ignore', verb === 'send' ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    child.stderr!.on('data', (bytes: Buffer) => this.lines.push(bytes));
    watchProgress(child.stdio[progressFd] as Readable, options.onName);
    child.stdin?.on('error', () => { this.#gone = true; }); // it has ended; its exit says why
    const closed = new Promise<EndResult>((resolve) => {
      child.on('error', (error) => resolve({ error: cannotRun(error, program) }));
      child.on('close', (code, signal) => {
        this.#gone = true;
        resolve(code === null ? { error: operationFailed(`The host's end of the copy was ended by signal ${signal}`) } : { code });
      });
    });
    if (verb === 'receive') this.#taken.resolve();
    this.ended = closed.then(async (result) => {
      await this.#taken.promise;
      return result;
    });
  }

  pump(write: (bytes: Buffer) => Promise<void>): void {
    void (async () => {
      for await (const bytes of this.#child.stdout! as AsyncIterable<Buffer>) await write(bytes);
    })().catch(() => undefined).finally(() => this.#taken.resolve()); // a broken pipe is told by its exit
  }

  write(bytes: Buffer): Promise<void> {
    if (this.#gone) return Promise.resolve();
    return new Promise((resolve) => {
      this.#input().write(bytes, () => resolve());
    });
  }

  finish(): void {
    if (!this.#gone) this.#input().end();
  }

  stop(): void {
    // It removes what is half-written and ends; what it was told already it does not mind.
    if (!this.#gone) this.#child.kill('SIGTERM');
  }

  #input(): Writable {
    return this.#child.stdin!;
  }
}

function cannotRun(error: Error, program: string): Error {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return operationFailed('The host\'s end of the copy could not be started', { cause: error });
  return missingRequirement(`The program ${program} is missing`, 'install banger again; in a checkout: sh scripts/build.sh');
}

/** Lines `<bytes> <entries> <name>`. */
function watchProgress(from: Readable, onName: (name: string) => void): void {
  let rest = '';
  from.setEncoding('utf8');
  from.on('error', () => undefined); // only progress
  from.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    const name = /^\d+ \d+ (.+)$/.exec(lines.at(-1) ?? '')?.[1];
    if (name !== undefined) onName(name);
  });
}
