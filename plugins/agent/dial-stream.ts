// A TCP connection made in the guest, and the request to shut it down.
import type { Duplex } from 'node:stream';
import { badRequest, cancelled, operationFailed } from '../../core/plugin-api.ts';
import type { BangerError } from '../../core/plugin-api.ts';
import { onAbort, refusal, requireLength, StreamSender } from './requests.ts';
import type { Opening } from './requests.ts';
import type { AgentSession, SessionStream } from './session.ts';
import { DialStream } from './streams.ts';
import { encodeTlv, frameType, tag, u16 } from './wire.ts';
import type { Frame } from './wire.ts';

export interface DialTarget { readonly host: string; readonly port: number }

class DialOpening implements SessionStream {
  readonly opened = Promise.withResolvers<Duplex>();
  readonly #duplex: DialStream;
  readonly #where: string;
  readonly #stopWaiting: () => void;

  constructor(sender: StreamSender, where: string, opening: Opening) {
    this.#where = `${where} in ${opening.subject}`;
    this.#duplex = new DialStream(sender);
    // An owner that forgot to listen must not bring the daemon down.
    this.#duplex.on('error', () => undefined);
    this.#stopWaiting = onAbort(opening.signal, () => {
      this.opened.reject(cancelled(`connection to ${this.#where}`));
      this.#duplex.destroy();
    });
  }

  onFrame(frame: Frame): boolean {
    switch (frame.type) {
      case frameType.opened:
        this.#stopWaiting();
        this.opened.resolve(this.#duplex);
        return true;
      case frameType.failed:
        this.onLost(refusal(frame.payload, `cannot connect to ${this.#where}`));
        return false;
      case frameType.data:
        this.#duplex.receive(frame.payload);
        return true;
      case frameType.eof:
        this.#duplex.endReading();
        return true;
      case frameType.window:
        this.#duplex.grant(requireLength(frame, 4).readUInt32LE(0));
        return true;
      case frameType.close:
        this.#duplex.gone(requireLength(frame, 4).readUInt32LE(0) === 0 ? undefined : operationFailed(`connection to ${this.#where} was reset`));
        return false;
      default:
        return true;
    }
  }

  onLost(error: BangerError): void {
    this.#stopWaiting();
    this.opened.reject(error);
    this.#duplex.gone(error);
  }
}

/** Connects inside the guest. @throws operation_failed; cancelled; bad_request */
export async function openDial(session: AgentSession, target: DialTarget, opening: Opening): Promise<Duplex> {
  const payload = encodeTlv([[tag.host, target.host], [tag.port, u16(target.port & 0xffff)]]);
  if (payload === undefined || Buffer.byteLength(target.host) > 63 || target.host.includes('\0')) throw badRequest([{ path: 'host', message: 'not an address' }]);
  const where = `${target.host}:${target.port}`;
  if (opening.signal.aborted) throw cancelled(`connection to ${where}`);
  const sender = new StreamSender(session);
  const stream = new DialOpening(sender, where, opening);
  sender.id = session.open(stream, frameType.dial, payload);
  return stream.opened.promise;
}

/** Resolves when the agent has acknowledged. @throws operation_failed; cancelled */
export async function requestShutdown(session: AgentSession, how: 'poweroff' | 'reboot', opening: Opening): Promise<void> {
  if (opening.signal.aborted) throw cancelled(`shutdown of ${opening.subject}`);
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  const stream: SessionStream = {
    onFrame: (frame) => {
      if (frame.type !== frameType.shutdownAck) return true;
      if (requireLength(frame, 4).readUInt32LE(0) === 0) resolve(undefined);
      else reject(operationFailed(`the guest agent of ${opening.subject} refused to ${how}`));
      return false;
    },
    onLost: reject,
  };
  const id = session.open(stream, frameType.shutdown, Buffer.from([how === 'poweroff' ? 1 : 2]));
  const stop = onAbort(opening.signal, () => {
    session.forget(id);
    reject(cancelled(`shutdown of ${opening.subject}`));
  });
  try {
    await promise;
  } finally {
    stop();
  }
}
