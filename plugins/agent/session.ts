// One byte stream to an agent. It knows no connections: a hello with a token and a nonce makes both ends forget what was
// before, whoever restarted and in the middle of whatever frame (guest/README.md).
import { randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { BangerError, incompatible, operationFailed } from '../../core/plugin-api.ts';
import type { AgentInfo, Logger } from '../../core/plugin-api.ts';
import { GivenUp } from './given-up.ts';
import { agentProtocol, decodeTlv, encodeFrame, encodeHeader, FrameParser, frameType, ProtocolError, tag, TokenScanner } from './wire.ts';
import type { Frame } from './wire.ts';

/** One stream as its session sees it. */
export interface SessionStream {
  /** false: the stream is over and its number may be forgotten. @throws ProtocolError */
  onFrame(frame: Frame): boolean;
  /** The session is lost. */
  onLost(error: BangerError): void;
}

export interface BootInfo extends AgentInfo {
  /** What went wrong in stage 1, a sentence each. */
  readonly problems: readonly string[];
}

export interface SessionOptions {
  readonly token: Buffer;
  /** VM name, for messages. */
  readonly subject: string;
  readonly log: Logger;
  /** An agent is there; again whenever it or the guest restarted. */
  readonly onInfo: (info: BootInfo) => void;
  /** Contact is lost: for good when `closed`, else a new hello is under way. */
  readonly onLost: (error: BangerError, closed: boolean) => void;
  /** Hello again when unanswered: it may have been sent into a machine that was just reset. @default 5000 */
  readonly helloRepeatMs?: number;
  /** Whether the guest stands still: one hello then waits for it, and no more. */
  readonly isPaused?: () => boolean;
}

const nonceBytes = 16;
/** Payloads from this size on are written as they are: copies of bulk data would keep the garbage collector busy. */
const copiedBytes = 1024;
const maxDoublings = 8;
const backoffMs = { first: 100, last: 5000, calmAfter: 30_000 };
/** From here on the agent numbers streams: connections of listeners. */
const firstAccepted = 0x8000_0000;
/** Connections of all listeners of a session together; an agent never has more. */
const maxAccepted = 224;
/** Commands that were hung up and have not ended. An agent ends each within 5 s, but those that its kernel cannot. */
const maxHungUp = 16;
/** More unsent output than streams can have under way: the other end is not reading. */
const maxUnsent = 64 * 1024 * 1024;

function parseInfo(payload: Buffer): BootInfo {
  const entries = decodeTlv(payload);
  const text = (wanted: number): string | undefined => entries.find((entry) => entry.tag === wanted)?.value.toString('utf8').slice(0, 256);
  const protocol = entries.find((entry) => entry.tag === tag.protocol)?.value;
  const bootId = text(tag.bootId);
  if (protocol?.length !== 4 || bootId === undefined || !/^[0-9a-f-]{0,36}$/.test(bootId)) throw new ProtocolError('The agent said nothing usable about itself');
  const problems = entries.filter((entry) => entry.tag === tag.problem).map((entry) => printable(entry.value.toString('utf8').slice(0, 256)));
  return { version: printable(text(tag.version) ?? ''), protocol: protocol.readUInt32LE(0), bootId, init: text(tag.init) === 'image' ? 'image' : 'agent', problems };
}

/** Text of the guest as it may be shown: no control characters. */
export function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, ' ');
}

type State = 'hello' | 'nonce' | 'open' | 'closed';

export class AgentSession {
  readonly #duplex: Duplex;
  readonly #options: SessionOptions;
  readonly #parser = new FrameParser();
  readonly #scanner: TokenScanner;
  readonly #streams = new Map<number, SessionStream>();
  readonly #givenUp = new GivenUp();
  readonly #hungUp = new GivenUp(maxHungUp);
  #state: State = 'hello';
  #nonce: Buffer = Buffer.alloc(nonceBytes);
  #answer: Buffer = Buffer.alloc(0);
  #timer: NodeJS.Timeout | undefined;
  #info: BootInfo | undefined;
  #nextStream = 1;
  #faults = 0;
  #openedAt = 0;
  /** Whatever the guest says, no hello goes out before this. Milliseconds since the epoch. */
  #holdUntil = 0;
  #greeted = false;

  constructor(duplex: Duplex, options: SessionOptions) {
    this.#duplex = duplex;
    this.#options = options;
    this.#scanner = new TokenScanner(options.token);
    duplex.on('data', (chunk: Buffer) => this.#onData(chunk));
    duplex.on('error', (error) => this.close(error));
    duplex.on('end', () => this.close());
    duplex.on('close', () => this.close());
    this.#hello();
  }

  /** Set while the agent is there. */
  get info(): BootInfo | undefined {
    return this.#state === 'open' ? this.#info : undefined;
  }

  /** Registers a stream and sends the frame that opens it. @returns its number */
  open(stream: SessionStream, type: number, payload: Uint8Array): number {
    if (this.info === undefined) throw this.lostError();
    const id = this.#takeId();
    this.#streams.set(id, stream);
    this.send(type, id, payload);
    return id;
  }

  /** Sends a frame; nothing when there is no session. */
  send(type: number, stream: number, payload: Uint8Array, flags = 0): void {
    if (this.#state !== 'open') return;
    if (payload.length < copiedBytes) {
      this.#duplex.write(encodeFrame(type, stream, payload, flags));
    } else {
      this.#duplex.cork();
      this.#duplex.write(encodeHeader(type, stream, payload.length, flags));
      this.#duplex.write(payload);
      this.#duplex.uncork();
    }
    if (this.#duplex.writableLength > maxUnsent) this.close(new Error('the guest takes no input'));
  }

  /**
   * Registers a stream that the agent opened, for a listener that is open. false: there are too many, and the caller gives it up.
   *
   * @throws ProtocolError for a number that is not the agent's to give, or is taken
   */
  adopt(id: number, stream: SessionStream): boolean {
    if (id < firstAccepted || this.#streams.has(id)) throw new ProtocolError(`The agent numbered a connection ${id}`);
    let accepted = 0;
    for (const other of this.#streams.keys()) if (other >= firstAccepted) accepted += 1;
    this.#streams.set(id, stream);
    return accepted < maxAccepted;
  }

  forget(stream: number): void {
    this.#streams.delete(stream);
    this.#hungUp.answered(stream);
  }

  /** Forgets a command that the agent has neither begun nor refused. */
  giveUp(stream: number): void {
    if (this.#streams.delete(stream)) this.#givenUp.add(stream);
  }

  /** The command has been told to end. */
  hungUp(stream: number): void {
    if (this.#streams.has(stream)) this.#hungUp.add(stream);
  }

  /** Settles once the agent has answered every command that was given up and ended most that were hung up, the session is lost, or the signal fires. */
  async caughtUp(signal: AbortSignal): Promise<void> {
    await this.#givenUp.none(signal);
    await this.#hungUp.none(signal);
  }

  lostError(cause?: unknown): BangerError {
    return operationFailed(`lost contact with guest agent of ${this.#options.subject}`, { cause });
  }

  /** Ends the session and its byte stream; every stream on it is lost. */
  close(cause?: unknown): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    clearTimeout(this.#timer);
    this.#duplex.destroy();
    this.#lose(cause, true);
  }

  #takeId(): number {
    while (this.#streams.has(this.#nextStream)) this.#nextStream = this.#nextStream >= 0x7fff_ffff ? 1 : this.#nextStream + 1;
    const id = this.#nextStream;
    this.#nextStream = id >= 0x7fff_ffff ? 1 : id + 1;
    return id;
  }

  #lose(cause: unknown, closed: boolean): void {
    const error = this.lostError(cause);
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    this.#givenUp.clear();
    this.#hungUp.clear();
    this.#info = undefined;
    for (const stream of streams) stream.onLost(error);
    this.#options.onLost(error, closed);
  }

  #hello(): void {
    if (this.#state === 'closed') return;
    clearTimeout(this.#timer);
    if (this.#state === 'hello' && this.#greeted && this.#options.isPaused?.() === true) return this.#after(this.#options.helloRepeatMs ?? 5000);
    this.#greeted = true;
    this.#state = 'hello';
    this.#holdUntil = 0;
    this.#nonce = randomBytes(nonceBytes);
    // An end that reads nothing (a frozen VM) must not gather greetings.
    if (this.#duplex.writableLength < 4096) this.#duplex.write(Buffer.concat([this.#options.token, this.#nonce]));
    this.#after(this.#options.helloRepeatMs ?? 5000);
  }

  #after(delayMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#hello(), delayMs);
    this.#timer.unref();
  }

  #fault(error: unknown): void {
    this.#options.log.warn({ vm: this.#options.subject, err: error }, 'guest agent broke the protocol');
    this.#beginAnew(error, 0);
  }

  /**
   * Gives the session up and begins anew, later each time while that happens again and again: every beginning costs the daemon a write to
   * its disk. `free`: so many without delay.
   */
  #beginAnew(error: unknown, free: number): void {
    if (Date.now() - this.#openedAt > backoffMs.calmAfter) this.#faults = 0;
    const doublings = this.#faults - free;
    this.#faults += 1;
    if (doublings < 0) {
      this.#hello();
    } else {
      const delay = Math.min(backoffMs.last, backoffMs.first * 2 ** Math.min(doublings, maxDoublings));
      this.#state = 'hello';
      this.#nonce = randomBytes(nonceBytes);
      this.#holdUntil = Date.now() + delay;
      this.#after(delay);
    }
    this.#lose(error, false);
  }

  #onData(chunk: Buffer): void {
    let from = 0;
    for (const end of this.#scanner.push(chunk)) {
      this.#take(chunk.subarray(from, Math.max(from, end - this.#options.token.length)));
      this.#answer = Buffer.alloc(0);
      this.#onToken();
      from = end;
    }
    this.#take(chunk.subarray(from));
  }

  #awaitingNonce = false;

  #onToken(): void {
    this.#awaitingNonce = true;
    this.#parser.reset();
  }

  #take(bytes: Buffer): void {
    let rest = bytes;
    if (this.#awaitingNonce) {
      const part = rest.subarray(0, nonceBytes - this.#answer.length);
      this.#answer = Buffer.concat([this.#answer, part]);
      rest = rest.subarray(part.length);
      if (this.#answer.length < nonceBytes) return;
      this.#awaitingNonce = false;
      this.#onAnswer(this.#answer);
    }
    if (this.#state === 'open' && rest.length > 0) this.#takeFrames(rest);
  }

  #onAnswer(answer: Buffer): void {
    if (this.#state === 'closed') return;
    if (this.#state === 'hello' && answer.equals(this.#nonce)) {
      clearTimeout(this.#timer);
      this.#state = 'open';
      this.#openedAt = Date.now();
      this.#parser.reset();
      return;
    }
    const starts = answer.every((byte) => byte === 0);
    // An answer to an earlier hello of ours: the one to the last is on its way.
    if (!starts && this.#state === 'hello') return;
    if (this.#state === 'open') this.#beginAnew(new Error(starts ? 'the agent started anew' : 'the agent answered somebody else'), 1);
    else if (Date.now() >= this.#holdUntil) this.#hello();
  }

  #takeFrames(bytes: Buffer): void {
    try {
      this.#parser.push(bytes, (frame) => {
        this.#onFrame(frame);
        return this.#state === 'open';
      });
    } catch (error) {
      this.#fault(error);
    }
  }

  #onFrame(frame: Frame): void {
    if (frame.type === frameType.info) {
      this.#onInfo(parseInfo(frame.payload));
      return;
    }
    if (this.#info === undefined) throw new ProtocolError('The agent spoke before it said what it is');
    const stream = this.#streams.get(frame.stream);
    if (stream === undefined) this.#givenUp.answered(frame.stream);
    if (stream === undefined && frame.type === frameType.accepted) throw new ProtocolError('The agent gave a connection of no listener');
    // Other frames for a stream that was given up meanwhile crossed that on the way.
    if (stream !== undefined && !stream.onFrame(frame)) this.forget(frame.stream);
  }

  #onInfo(info: BootInfo): void {
    if (this.#info !== undefined) throw new ProtocolError('The agent introduced itself twice');
    if (info.protocol > agentProtocol) {
      this.close(incompatible(`guest agent of ${this.#options.subject} speaks protocol ${info.protocol}`, 'restart the VM with this version of banger'));
      return;
    }
    this.#info = info;
    this.#options.onInfo(info);
  }
}
