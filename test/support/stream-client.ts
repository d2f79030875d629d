// The client's end of a frame stream, in memory.
import { frameKind } from '../../core/api.ts';
import type { FrameStream } from '../../core/plugin-api.ts';
import { waitFor } from './wait.ts';

export class StreamClient {
  readonly frames: { kind: number; payload: Buffer }[] = [];
  ended = false;
  /** Frames are taken only once this has resolved. */
  open: Promise<void> = Promise.resolve();
  #handler: ((kind: number, payload: Buffer) => Promise<void> | void) | undefined;
  readonly #closers: (() => void)[] = [];
  readonly stream: FrameStream = {
    send: async (kind, payload) => {
      await this.open;
      this.frames.push({ kind, payload: Buffer.from(payload) });
    },
    onFrame: (handler) => { this.#handler = handler; },
    onClose: (listener) => { this.#closers.push(listener); },
    end: () => { this.ended = true; }, destroy: () => this.close(),
  };

  async send(kind: number, payload: Buffer | string = ''): Promise<void> {
    await waitFor('the bridge', () => this.#handler !== undefined);
    await this.#handler?.(kind, Buffer.from(payload));
  }

  close(): void {
    for (const closer of this.#closers) closer();
  }

  data(kind: number): Buffer {
    return Buffer.concat(this.frames.filter((frame) => frame.kind === kind).map(({ payload }) => payload));
  }

  /** What the exit frame says, which must be the last. */
  async exit(): Promise<unknown> {
    await waitFor('the end of the stream', () => this.ended);
    const last = this.frames.at(-1);
    if (last?.kind !== frameKind.exit) throw new Error(`the last frame is of kind ${last?.kind}`);
    return JSON.parse(last.payload.toString()) as unknown;
  }
}
