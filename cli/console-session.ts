// The serial console of a VM: bytes both ways until a key, the end of the input or the end of the VM.
import { frameKind, type WireError } from '../core/api.ts';
import { BangerError, type ErrorCode } from '../core/errors.ts';
import type { FrameStream } from '../core/plugin-api.ts';
import type { SessionStreams } from './session.ts';

/** Ctrl-], as telnet and other consoles have it. */
const leaveKey = 0x1d;
/** What is typed waits for the guest up to here, so that the key is always read. */
const maxTypedBytes = 256 * 1024;
/** After the end of a piped input: so long a silence, or so long altogether, ends it. */
const silenceMs = 2_000;
const drainMs = 30_000;

/** `left`: by the key or a signal; `drained`: the input had ended and the guest fell silent; `ended`: the VM did. */
export type ConsoleEnd = 'left' | 'drained' | 'ended';
type ExitFrame = { readonly code: number } | { readonly error: WireError & { readonly message?: string } };

export class ConsoleSession {
  readonly #stream: FrameStream;
  readonly #streams: SessionStreams;
  readonly #done = Promise.withResolvers<ConsoleEnd>();
  #silence: NodeJS.Timeout | undefined;
  #drain: NodeJS.Timeout | undefined;
  #typedBytes = 0;

  constructor(stream: FrameStream, streams: SessionStreams) {
    this.#stream = stream;
    this.#streams = streams;
  }

  /** @throws operation_failed when the connection is lost */
  async run(): Promise<ConsoleEnd> {
    this.#stream.onFrame((kind, payload) => this.#onFrame(kind, payload));
    this.#stream.onClose(() => this.#done.reject(new BangerError('operation_failed', 'The connection to the console was lost')));
    void (this.#streams.terminal === undefined ? this.#pipe() : this.#type());
    try {
      return await this.#done.promise;
    } finally {
      clearTimeout(this.#silence);
      clearTimeout(this.#drain);
      this.#stream.destroy();
    }
  }

  leave(): void {
    this.#done.resolve('left');
  }

  /** A terminal: read on whatever the guest does, and watch for the key. */
  async #type(): Promise<void> {
    try {
      for await (const chunk of this.#streams.stdin ?? []) {
        const key = chunk.indexOf(leaveKey);
        this.#send(key === -1 ? chunk : chunk.subarray(0, key));
        if (key !== -1) break;
      }
    } catch {
      // The terminal is gone: that is leaving, too.
    }
    this.leave();
  }

  #send(bytes: Buffer): void {
    if (bytes.length === 0 || this.#typedBytes + bytes.length > maxTypedBytes) return;
    this.#typedBytes += bytes.length;
    const sent = (): void => { this.#typedBytes -= bytes.length; };
    this.#stream.send(frameKind.stdin, bytes).then(sent, sent); // a closed stream is told by onClose
  }

  /** Anything else: at the guest's pace, to the end, and then as long as it answers. */
  async #pipe(): Promise<void> {
    try {
      for await (const chunk of this.#streams.stdin ?? []) await this.#stream.send(frameKind.stdin, chunk);
    } catch {
      // Reading failed, or the console is gone: there is no more input.
    }
    const drained = (): void => this.#done.resolve('drained');
    this.#silence = setTimeout(drained, silenceMs);
    this.#drain = setTimeout(drained, drainMs);
  }

  async #onFrame(kind: number, payload: Buffer): Promise<void> {
    try {
      this.#silence?.refresh();
      if (kind === frameKind.stdout) await this.#streams.stdout.write(payload);
      else if (kind === frameKind.exit) this.#end(JSON.parse(payload.toString('utf8')) as ExitFrame);
    } catch (error) {
      this.#done.reject(error); // our reader is gone
    }
  }

  #end(exit: ExitFrame): void {
    if (!('error' in exit)) return this.#done.resolve('ended');
    const { code, opId, hint, detail, message } = exit.error;
    this.#done.reject(new BangerError(code as ErrorCode, message ?? 'The console could not be served', { hint, detail: { ...detail, opId } }));
  }
}
