// A guest's end of a copy with limits around it: it may stall only so long, and must end soon after it was told to.
import { Readable, Writable } from 'node:stream';
import { BangerError, cancelled } from '../../core/plugin-api.ts';
import type { GuestExit, GuestProcess } from '../../core/plugin-api.ts';
import { floorBytesPerSecond, StallWatch } from './stall.ts';

export interface GuardOptions {
  /** VM name, for messages. */
  readonly subject: string;
  readonly direction: 'in' | 'out';
  readonly path: string;
  readonly limitMs: number;
  /** The client moves the data and watches over that itself; the guest's turn begins with the end of the input: from then on it is to exit. @default false */
  readonly direct?: boolean;
  /** How long the guest's end may take to go after a hangup; the agent kills it 5 s after. */
  readonly hangupMs: number;
  /** The daemon closes. */
  readonly signal: AbortSignal;
}

/**
 * The same process, whose `exit` also rejects with `timeout` when the guest stalls, and with `cancelled` when the daemon closes. Whichever way it
 * ends, its streams are over then and the guest's end has been hung up.
 */
export function guardProcess(inner: GuestProcess, options: GuardOptions): GuestProcess {
  return new GuardedProcess(inner, options);
}

class GuardedProcess implements GuestProcess {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly exit: Promise<GuestExit>;
  readonly #inner: GuestProcess;
  readonly #options: GuardOptions;
  readonly #watch: StallWatch;
  readonly #ended = Promise.withResolvers<GuestExit>();
  #hangupTimer: NodeJS.Timeout | undefined;

  constructor(inner: GuestProcess, options: GuardOptions) {
    this.#inner = inner;
    this.#options = options;
    this.#watch = new StallWatch({ limitMs: options.limitMs, onStall: (bytes) => this.#giveUp(stalled(options, bytes)) });
    const direct = options.direct === true;
    this.stdin = direct || options.direction === 'in' ? this.#watchedInput() : inner.stdin;
    this.stdout = options.direction === 'out' && !direct ? Readable.from(this.#watchedOutput(), { objectMode: false, highWaterMark: 64 * 1024 }) : inner.stdout;
    this.stderr = inner.stderr;
    this.exit = this.#ended.promise;
    this.exit.catch(() => undefined); // a caller that left must not bring the daemon down
    const close = (): void => this.#giveUp(this.#cancelled());
    options.signal.addEventListener('abort', close, { once: true });
    inner.exit.then((exit) => this.#ended.resolve(exit), (error: unknown) => this.#ended.reject(error)).finally(() => {
      this.#watch.stop();
      clearTimeout(this.#hangupTimer);
      options.signal.removeEventListener('abort', close);
    });
    if (options.signal.aborted) close();
  }

  resize(cols: number, rows: number): void {
    this.#inner.resize(cols, rows);
  }
  signal(name: string): void {
    this.#inner.signal(name);
  }
  hangup(): void {
    this.#inner.hangup();
    this.#hangupTimer ??= setTimeout(() => this.#giveUp(this.#cancelled()), this.#options.hangupMs).unref();
  }

  #cancelled(): BangerError {
    return cancelled(`The copy ${this.#options.direction === 'in' ? 'to' : 'from'} ${this.#options.subject}`);
  }

  #giveUp(error: BangerError): void {
    this.#watch.stop();
    this.#inner.hangup();
    this.#ended.reject(error);
    for (const stream of [this.stdin, this.stdout, this.#inner.stdin, this.#inner.stdout, this.#inner.stderr]) stream.destroy();
  }

  /** The guest's turn is from the moment somebody wants more until it comes, and again until it exits. */
  async *#watchedOutput(): AsyncGenerator<Buffer> {
    const chunks = (this.#inner.stdout as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
    for (;;) {
      this.#watch.guest();
      const next = await chunks.next();
      if (next.done === true) break;
      this.#watch.client(next.value.length);
      yield next.value;
    }
    this.#watch.anew();
  }

  /** The guest's turn is from a write until it has room for more, and from the end of the input until it exits. */
  #watchedInput(): Writable {
    const { stdin } = this.#inner;
    const watch = this.#watch;
    const input = new Writable({
      highWaterMark: 64 * 1024,
      write(chunk: Buffer, _encoding, done) {
        watch.guest();
        stdin.write(chunk, (error) => {
          watch.client(chunk.length);
          done(error);
        });
      },
      final(done) {
        stdin.end();
        watch.anew();
        watch.guest();
        done();
      },
    });
    // A guest's end that is gone takes no more input; its exit says why.
    stdin.on('close', () => input.destroy());
    stdin.on('error', () => input.destroy());
    input.on('error', () => undefined);
    return input;
  }
}

/** Why a guest was given up that moved only so many bytes in its time. */
export function stalled({ subject, direction, path, limitMs }: Pick<GuardOptions, 'subject' | 'direction' | 'path' | 'limitMs'>, bytes: number): BangerError {
  const what = direction === 'in' ? `take more for ${path}` : `send more of ${path}`;
  const pace = bytes === 0 ? '' : ` (${bytes} bytes moved, the least is ${floorBytesPerSecond} a second)`;
  return new BangerError('timeout', `Gave up waiting for the guest of ${subject} to ${what} after ${Math.round(limitMs / 100) / 10} s${pace}`, {
    hint: `banger vm logs ${subject} shows its console; [plugins.copy] stall_timeout_seconds in the configuration is the limit`,
  });
}
