// This host's end of a copy whose stream goes through our hands.
import type { Writable } from 'node:stream';
import type { EndResult, Sink, Source } from './end.ts';
import { HostProgram, type HostProgramOptions } from './host-program.ts';
import type { EndLines } from './lines.ts';

export class HostEnd implements Source, Sink {
  readonly label: string;
  readonly ended: Promise<EndResult>;
  readonly lines: EndLines;
  readonly #program: HostProgram;
  /** The last piece of a stream has been taken: the child may end before. */
  readonly #taken = Promise.withResolvers<void>();

  /** `words`: verb, flags, `--` and paths. */
  constructor(words: readonly string[], options: HostProgramOptions) {
    const receives = words[0] === 'receive';
    this.#program = new HostProgram(words, { stdin: receives, stdout: !receives }, options);
    this.label = this.#program.label;
    this.lines = this.#program.lines;
    if (receives) this.#taken.resolve();
    this.ended = this.#program.closed.then(async (result) => {
      await this.#taken.promise;
      return result;
    });
  }

  pump(write: (bytes: Buffer) => Promise<void>): void {
    void (async () => {
      for await (const bytes of this.#program.child.stdout! as AsyncIterable<Buffer>) await write(bytes);
    })().catch(() => undefined).finally(() => this.#taken.resolve()); // a broken pipe is told by its exit
  }

  write(bytes: Buffer): Promise<void> {
    if (this.#program.isGone) return Promise.resolve();
    return new Promise((resolve) => {
      this.#input().write(bytes, () => resolve());
    });
  }

  finish(): void {
    this.#program.closeStdin();
  }

  stop(): void {
    this.#program.stop();
  }

  #input(): Writable {
    return this.#program.child.stdin!;
  }
}
