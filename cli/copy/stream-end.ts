// Our own stdin and stdout as ends of a copy: `-`.
import { BrokenPipe } from '../io.ts';
import { processOutput, type Output } from '../output.ts';
import type { EndResult, Sink, Source } from './end.ts';

/** stdin, which has ended well when it is at its end: whether the stream is whole the receiver sees. */
export class StdinEnd implements Source {
  readonly label = 'stdin';
  readonly #ended = Promise.withResolvers<EndResult>();

  get ended(): Promise<EndResult> {
    return this.#ended.promise;
  }

  pump(write: (bytes: Buffer) => Promise<void>): void {
    void (async () => {
      for await (const bytes of process.stdin as AsyncIterable<Buffer>) await write(bytes);
    })().then(() => this.#ended.resolve({ code: 0 }), (error: unknown) => this.#ended.resolve({ error: error as Error }));
  }

  stop(): void {
    this.#ended.resolve({ code: 0 });
    process.stdin.destroy();
  }
}

export class StdoutEnd implements Sink {
  readonly label = 'stdout';
  readonly #output: Output = processOutput(1);
  readonly #ended = Promise.withResolvers<EndResult>();

  get ended(): Promise<EndResult> {
    return this.#ended.promise;
  }

  async write(bytes: Buffer): Promise<void> {
    try {
      await this.#output.write(bytes);
    } catch (error) {
      this.#ended.resolve({ error: error instanceof Error ? error : new BrokenPipe('stdout is closed') });
    }
  }

  finish(): void {
    this.#ended.resolve({ code: 0 });
  }

  stop(): void {
    this.finish();
  }
}
