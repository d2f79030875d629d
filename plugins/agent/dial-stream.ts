// A connection made in the guest, and the request to shut it down.
import type { Duplex } from 'node:stream';
import { cancelled, operationFailed } from '../../core/plugin-api.ts';
import type { BangerError, GuestTarget } from '../../core/plugin-api.ts';
import { ConnectionStream } from './connection-stream.ts';
import { onAbort, refusal, requireLength, requireProtocol2, StreamSender } from './requests.ts';
import type { Opening } from './requests.ts';
import type { AgentSession, SessionStream } from './session.ts';
import { isPlainTarget, targetPayload, targetText } from './targets.ts';
import { frameType } from './wire.ts';
import type { Frame } from './wire.ts';

class DialOpening implements SessionStream {
  readonly opened = Promise.withResolvers<Duplex>();
  readonly #connection: ConnectionStream;
  readonly #where: string;
  readonly #stopWaiting: () => void;

  constructor(sender: StreamSender, where: string, opening: Opening) {
    this.#where = `${where} in ${opening.subject}`;
    this.#connection = new ConnectionStream(sender, `connection to ${this.#where}`);
    this.#stopWaiting = onAbort(opening.signal, () => {
      this.opened.reject(cancelled(`connection to ${this.#where}`));
      this.#connection.duplex.destroy();
    });
  }

  onFrame(frame: Frame): boolean {
    switch (frame.type) {
      case frameType.opened:
        this.#stopWaiting();
        this.opened.resolve(this.#connection.duplex);
        return true;
      case frameType.failed:
        this.onLost(refusal(frame.payload, `cannot connect to ${this.#where}`));
        return false;
      default:
        return this.#connection.onFrame(frame);
    }
  }

  onLost(error: BangerError): void {
    this.#stopWaiting();
    this.opened.reject(error);
    this.#connection.onLost(error);
  }
}

/** Connects inside the guest. @throws operation_failed; not_found; cancelled; bad_request; unsupported by an older agent */
export async function openDial(session: AgentSession, target: GuestTarget, opening: Opening): Promise<Duplex> {
  const payload = targetPayload(target, 1);
  const where = targetText(target);
  if (!isPlainTarget(target)) requireProtocol2(session, opening.subject, 'connect to names and unix sockets');
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
