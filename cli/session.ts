// One command in the guest: bytes both ways, window size, signals, exit status.
import { frameKind, type VmExecParams, type WireError } from '../core/api.ts';
import { BangerError, type ErrorCode } from '../core/errors.ts';
import type { FrameStream } from '../core/plugin-api.ts';
import type { Daemon } from './daemon-link.ts';
import { interruptExitCode, type Interrupts, type InterruptSignal } from './interrupts.ts';
import type { Output } from './output.ts';

/** Where the bytes of the command go to and come from. */
export interface SessionStreams {
  /** Chunks of stdin; absent: the command gets /dev/null. */
  readonly stdin?: AsyncIterable<Buffer>;
  readonly stdout: Output;
  readonly stderr: Output;
  /** Set in terminal mode. */
  readonly terminal?: {
    size(): { cols: number; rows: number };
    /** Returns an unregister function. */
    onResize(listener: () => void): () => void;
  };
}
type ExitFrame = { readonly code: number } | { readonly signal: string; readonly number: number } | { readonly error: WireError & { readonly message?: string } };

/** A second Ctrl-C within this time gives up. */
const giveUpWindowMs = 2000;

export interface SessionCall {
  readonly streams: SessionStreams;
  /** Told who handles the signals of the person while the command runs. */
  readonly interrupts: Pick<Interrupts, 'handle'>;
}

/** Starts the command and stays until it has ended; answers its exit code (128+n for a signal). @throws what kept it from running */
export async function runSession(daemon: Daemon, params: VmExecParams, call: SessionCall): Promise<number> {
  const { ticket } = await daemon.call('vm.exec', params);
  return attachSession(daemon, ticket, call);
}

/** The same for a ticket that another method gave. */
export async function attachSession(daemon: Daemon, ticket: string, call: SessionCall): Promise<number> {
  const stream = await daemon.attach(ticket);
  const session = new ExecSession(stream, call.streams);
  call.interrupts.handle((signal) => session.interrupt(signal));
  return session.run();
}

class ExecSession {
  readonly #stream: FrameStream;
  readonly #streams: SessionStreams;
  readonly #done = Promise.withResolvers<number>();
  #lastInterrupt = Number.NEGATIVE_INFINITY;

  constructor(stream: FrameStream, streams: SessionStreams) {
    this.#stream = stream;
    this.#streams = streams;
  }

  async run(): Promise<number> {
    const { terminal } = this.#streams;
    const stopResize = terminal?.onResize(() => this.#send(frameKind.resize, JSON.stringify(terminal.size())));
    this.#stream.onFrame((kind, payload) => this.#onFrame(kind, payload));
    this.#stream.onClose(() => this.#done.reject(new BangerError('operation_failed', 'The connection was lost while the command ran')));
    if (this.#streams.stdin) void this.#pump(this.#streams.stdin);
    try {
      return await this.#done.promise;
    } finally {
      stopResize?.();
      this.#stream.destroy();
    }
  }

  /** The first one goes to the command, the second within 2 s ends this side; a lost terminal ends it at once. */
  interrupt(signal: InterruptSignal): void {
    const now = performance.now();
    if (signal === 'HUP' || now - this.#lastInterrupt < giveUpWindowMs) {
      this.#done.resolve(interruptExitCode(signal));
      return;
    }
    this.#lastInterrupt = now;
    this.#send(frameKind.signal, signal);
  }

  #send(kind: number, text: string): void {
    this.#stream.send(kind, Buffer.from(text)).catch(() => undefined); // a closed stream is told by onClose
  }

  async #pump(stdin: AsyncIterable<Buffer>): Promise<void> {
    try {
      for await (const chunk of stdin) await this.#stream.send(frameKind.stdin, chunk);
    } catch {
      // Reading failed, or the command is gone: either way there is no more input.
    }
    await this.#stream.send(frameKind.stdin, Buffer.alloc(0)).catch(() => undefined); // gone, and onClose tells
  }

  async #onFrame(kind: number, payload: Buffer): Promise<void> {
    try {
      if (kind === frameKind.stdout) await this.#streams.stdout.write(payload);
      else if (kind === frameKind.stderr) await this.#streams.stderr.write(payload);
      else if (kind === frameKind.exit) this.#end(JSON.parse(payload.toString('utf8')) as ExitFrame);
    } catch (error) {
      // Our reader is gone, so there is nobody to run the command for: ending the stream sends it HUP.
      this.#done.reject(error);
    }
  }

  #end(exit: ExitFrame): void {
    if ('error' in exit) {
      const { code, opId, hint, detail, message } = exit.error;
      this.#done.reject(new BangerError(code as ErrorCode, message ?? 'The command could not be run', { hint, detail: { ...detail, opId } }));
      return;
    }
    this.#done.resolve('signal' in exit ? 128 + exit.number : exit.code);
  }
}
