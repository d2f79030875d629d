// What exec, dial and shutdown have in common: how they are given up, and how the guest's refusal reads.
import { constants } from 'node:os';
import { BangerError, unsupported } from '../../core/plugin-api.ts';
import { printable } from './session.ts';
import type { AgentSession } from './session.ts';
import type { StreamPort } from './streams.ts';
import { decodeTlv, frameType, ProtocolError, tag, u32 } from './wire.ts';
import type { Frame } from './wire.ts';

/** What a stream's opening waits for, and how it is given up. */
export interface Opening {
  /** VM name, for messages. */
  readonly subject: string;
  readonly signal: AbortSignal;
}

/** Payload of FAILED as an error: `not_found` for what does not exist in the guest. @throws ProtocolError */
export function refusal(payload: Buffer, subject: string): BangerError {
  const entries = decodeTlv(payload);
  const errno = entries.find((entry) => entry.tag === tag.errno)?.value;
  const message = entries.find((entry) => entry.tag === tag.message)?.value.toString('utf8').slice(0, 256);
  const code = errno?.length === 4 && errno.readUInt32LE(0) === constants.errno.ENOENT ? 'not_found' : 'operation_failed';
  return new BangerError(code, `${subject}: ${printable(message ?? 'refused by the guest')}`);
}

/**
 * For what came with protocol 2: a VM started by an older banger still has that one's agent.
 *
 * @throws unsupported
 */
export function requireProtocol2(session: AgentSession, subject: string, what: string): void {
  const protocol = session.info?.protocol;
  // Without a session the opening fails with a better reason.
  if (protocol === undefined || protocol >= 2) return;
  throw unsupported(`the guest agent of ${subject} is too old to ${what}`, `banger vm restart ${subject}`);
}

/** @throws ProtocolError */
export function requireLength(frame: Frame, length: number): Buffer {
  if (frame.payload.length !== length) throw new ProtocolError(`A frame of type ${frame.type} has ${frame.payload.length} bytes`);
  return frame.payload;
}

/** Sends frames of one stream; its number is known once the session has opened it. */
export class StreamSender implements StreamPort {
  readonly #session: AgentSession;
  #id = 0;

  constructor(session: AgentSession) {
    this.#session = session;
  }

  set id(id: number) {
    this.#id = id;
  }

  send(type: number, payload: Uint8Array = new Uint8Array(0), flags = 0): void {
    this.#session.send(type, this.#id, payload, flags);
  }

  data(bytes: Uint8Array): void {
    this.send(frameType.data, bytes);
  }

  eof(): void {
    this.send(frameType.eof);
  }

  window(channel: number, bytes: number): void {
    this.send(frameType.window, u32(bytes), channel);
  }

  /** Gives the stream up: what still comes for it is ignored. */
  close(): void {
    this.send(frameType.close);
    this.#session.forget(this.#id);
  }

  /** The same for a command that the agent has neither begun nor refused. */
  giveUp(): void {
    this.send(frameType.close);
    this.#session.giveUp(this.#id);
  }

  /** Tells a command that nobody is there any more; its end still counts. */
  hangUp(): void {
    this.send(frameType.hangup);
    this.#session.hungUp(this.#id);
  }
}

/** Runs `give` when the signal fires; the result takes that back. */
export function onAbort(signal: AbortSignal, give: () => void): () => void {
  signal.addEventListener('abort', give, { once: true });
  return () => signal.removeEventListener('abort', give);
}
