// A guest's end of a copy: frames of the daemon, which has the guest agent run the program that both ends share.
import { frameKind, type VmCopyParams, type VmCopyResult, type WireError } from '../../core/api.ts';
import { BangerError, isBangerError, type ErrorCode } from '../../core/errors.ts';
import type { FrameStream } from '../../core/plugin-api.ts';
import type { Daemon } from '../daemon-link.ts';
import type { EndResult, Sink, Source } from './end.ts';
import { EndLines } from './lines.ts';

type ExitFrame = { readonly code: number } | { readonly signal: string; readonly number: number } | { readonly error: WireError & { readonly message?: string } };

/** Half of what the daemon reads at once, so that it need not copy a frame that two reads brought more often than not. */
const frameBytes = 32 * 1024;
/** How long the guest may take to end after it was asked to; then the stream is given up and the daemon sees to it. */
const stopGraceMs = 5000;

export interface OpenGuestEnd {
  readonly end: GuestEnd;
  readonly params: VmCopyParams;
  /** The stream does not go through the daemon but this way; only where it was asked for. */
  readonly direct: VmCopyResult['direct'];
}

/** Begins it. @throws not_found; not_running and what else keeps the daemon from it */
export async function openGuestEnd(daemon: Daemon, params: VmCopyParams, say: (line: string) => void): Promise<OpenGuestEnd> {
  const { ticket, direct } = await beginCopy(daemon, params);
  const end = new GuestEnd(await daemon.attach(ticket), params.ref, say);
  // The frames of a source that sends its stream here wait until somebody takes them.
  if (params.direction === 'in' || direct !== undefined) end.listen();
  return { end, params, direct };
}

async function beginCopy(daemon: Daemon, params: VmCopyParams): Promise<VmCopyResult> {
  try {
    return await daemon.call('vm.copy', params);
  } catch (error) {
    // A busy daemon of an older build does not know the direct way, and refuses what it does not know.
    if (params.direct !== true || !isBangerError(error) || error.code !== 'bad_request') throw error;
    return daemon.call('vm.copy', { ...params, direct: undefined });
  }
}

export class GuestEnd implements Source, Sink {
  readonly label: string;
  readonly lines: EndLines;
  readonly #stream: FrameStream;
  readonly #ended = Promise.withResolvers<EndResult>();
  #write: ((bytes: Buffer) => Promise<void>) | undefined;
  #stopTimer: NodeJS.Timeout | undefined;
  #isAsked = false;
  #isFinished = false;
  #hasSpoken = false;
  #over = false;

  constructor(stream: FrameStream, label: string, say: (line: string) => void) {
    this.label = label;
    this.#stream = stream;
    this.lines = new EndLines(say);
    stream.onClose(() => this.#end({ error: daemonGone() }));
  }

  listen(): void {
    this.#stream.onFrame((kind, payload) => this.#onFrame(kind, payload));
  }

  get ended(): Promise<EndResult> {
    return this.#ended.promise;
  }

  pump(write: (bytes: Buffer) => Promise<void>): void {
    this.#write = write;
    this.listen();
  }

  async write(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length; at += frameBytes) await this.#send(bytes.subarray(at, at + frameBytes));
  }

  /** No more comes, or in a direct copy: this host's end is through. Safe to call again. */
  finish(): void {
    if (this.#isFinished) return;
    this.#isFinished = true;
    void this.#send(Buffer.alloc(0));
  }

  async #send(bytes: Buffer): Promise<void> {
    if (!this.#over) await this.#stream.send(frameKind.stdin, bytes).catch(() => undefined); // onClose tells
  }

  /** As `stop`, but in the time that it needs; the daemon bounds it once we are through. */
  askToEnd(): void {
    if (this.#over || this.#isAsked) return;
    this.#isAsked = true;
    this.#stream.send(frameKind.signal, Buffer.from('TERM')).catch(() => undefined); // onClose tells
  }

  stop(): void {
    this.askToEnd();
    if (!this.#over) this.#stopTimer ??= setTimeout(() => this.abandon(), stopGraceMs);
  }

  /** Waits no longer: the daemon, which sees us gone, hangs it up. */
  abandon(): void {
    this.#stream.destroy();
  }

  #onFrame(kind: number, payload: Buffer): Promise<void> | void {
    if (kind === frameKind.stdout) return this.#write?.(payload);
    if (kind === frameKind.stderr) {
      this.#hasSpoken = true;
      this.lines.push(payload);
    } else if (kind === frameKind.exit) {
      const exit = JSON.parse(payload.toString('utf8')) as ExitFrame;
      this.#speakForUnbegun(exit);
      this.#end(resultOf(exit, this.label));
    }
  }

  /** The program takes our signal before it does anything else, and then says what became of the copy: one that died of it had not begun. */
  #speakForUnbegun(exit: ExitFrame): void {
    if (this.#isAsked && !this.#hasSpoken && 'signal' in exit && exit.signal === 'TERM') this.lines.push(Buffer.from('stopped before it began: nothing was put in place\n'));
  }

  #end(result: EndResult): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#stopTimer);
    this.#ended.resolve(result);
    this.#stream.destroy();
  }
}

function resultOf(exit: ExitFrame, label: string): EndResult {
  if ('code' in exit) return { code: exit.code };
  if ('signal' in exit) return { error: new BangerError('operation_failed', `The end of the copy in ${label} was ended by signal ${exit.signal}`) };
  const { code, opId, hint, detail, message } = exit.error;
  return { error: new BangerError(code as ErrorCode, message ?? `The copy in ${label} failed`, { hint, detail: { ...detail, opId } }) };
}

const daemonGone = (): BangerError => new BangerError('daemon_unreachable', 'The daemon went away during the copy', { hint: 'the same command again starts it; what is there already is replaced' });
