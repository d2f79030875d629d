// A listener in the guest, and the connections it gives: streams that the agent numbers, believed only from a listener of ours.
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { cancelled } from '../../core/plugin-api.ts';
import type { BangerError, GuestListener, GuestListenTarget, GuestPeer } from '../../core/plugin-api.ts';
import { ConnectionStream } from './connection-stream.ts';
import { onAbort, refusal, requireLength, requireProtocol2, StreamSender } from './requests.ts';
import type { Opening } from './requests.ts';
import type { AgentSession, SessionStream } from './session.ts';
import { targetPayload, targetText } from './targets.ts';
import { decodeTlv, frameType, ProtocolError, tag } from './wire.ts';
import type { Frame } from './wire.ts';

/** Connections of one listener that may live at once; what comes beyond them is closed at once. */
export const maxConnections = 128;

export interface ListenOptions extends Opening {
  readonly onConnection: (connection: Duplex, from: GuestPeer) => void;
}

function parseAccepted(payload: Buffer): { readonly id: number; readonly from: GuestPeer } {
  const entries = new Map(decodeTlv(payload).map((entry) => [entry.tag, entry.value]));
  const id = entries.get(tag.stream);
  const host = entries.get(tag.host)?.toString('latin1') ?? '';
  const port = entries.get(tag.port);
  if (id?.length !== 4 || (host !== '' && (isIP(host) === 0 || port?.length !== 2))) throw new ProtocolError('A connection was announced without what belongs to it');
  return { id: id.readUInt32LE(0), from: { host, port: host === '' ? 0 : port?.readUInt16LE(0) ?? 0 } };
}

class ListenStream implements SessionStream {
  readonly opened = Promise.withResolvers<GuestListener>();
  readonly #closed = Promise.withResolvers<undefined>();
  readonly #session: AgentSession;
  readonly #sender: StreamSender;
  readonly #where: string;
  readonly #options: ListenOptions;
  readonly #stopWaiting: () => void;
  #state: 'opening' | 'open' | 'closing' = 'opening';
  #alive = 0;

  constructor(session: AgentSession, sender: StreamSender, where: string, options: ListenOptions) {
    this.#session = session;
    this.#sender = sender;
    this.#options = options;
    this.#where = `${where} in ${options.subject}`;
    this.#stopWaiting = onAbort(options.signal, () => {
      this.opened.reject(cancelled(`listening on ${this.#where}`));
      this.#close();
    });
  }

  onFrame(frame: Frame): boolean {
    switch (frame.type) {
      case frameType.opened:
        this.#onOpened(requireLength(frame, 4).readUInt32LE(0));
        return true;
      case frameType.failed:
        this.#over(refusal(frame.payload, `cannot listen on ${this.#where}`));
        return false;
      case frameType.accepted:
        this.#onAccepted(parseAccepted(frame.payload));
        return true;
      case frameType.close:
        // Also how the agent answers our own: no connection comes any more.
        this.#over(cancelled(`listening on ${this.#where}`));
        return false;
      default:
        return true;
    }
  }

  onLost(error: BangerError): void {
    this.#over(error);
  }

  #onOpened(port: number): void {
    // Given up meanwhile.
    if (this.#state === 'closing') return;
    if (this.#state === 'open' || port > 65_535) throw new ProtocolError('A listener was opened in a way that cannot be');
    this.#stopWaiting();
    this.#state = 'open';
    this.opened.resolve({ port, closed: this.#closed.promise, close: () => this.#close() });
  }

  #onAccepted({ id, from }: { readonly id: number; readonly from: GuestPeer }): void {
    if (this.#state === 'opening') throw new ProtocolError('A listener gave a connection before it was open');
    const sender = new StreamSender(this.#session);
    sender.id = id;
    const connection = new ConnectionStream(sender, `connection from ${from.host === '' ? this.#where : `${from.host} in ${this.#options.subject}`}`);
    const { duplex } = connection;
    if (!this.#session.adopt(id, connection) || this.#state === 'closing' || this.#alive >= maxConnections) {
      duplex.destroy();
      return;
    }
    // Alive until our side has let go of it, too: a guest that opens and closes without end must not outrun who takes them.
    this.#alive += 1;
    duplex.once('close', () => { this.#alive -= 1; });
    try {
      this.#options.onConnection(duplex, from);
    } catch {
      // Whoever takes the connections has no use for this one; the guest sees it end.
      duplex.destroy();
    }
  }

  #close(): void {
    if (this.#state === 'closing') return;
    this.#state = 'closing';
    // Its number stays taken until the agent has answered, so that connections under way are known for what they are.
    this.#sender.send(frameType.close);
    this.#closed.resolve(undefined);
  }

  #over(error: BangerError): void {
    this.#stopWaiting();
    this.#state = 'closing';
    this.opened.reject(error);
    this.#closed.resolve(undefined);
  }
}

/** Listens inside the guest. @throws operation_failed; not_found (directory, user); cancelled; bad_request; unsupported by an older agent */
export async function openListener(session: AgentSession, target: GuestListenTarget, options: ListenOptions): Promise<GuestListener> {
  const payload = targetPayload(target, 0);
  const where = targetText(target);
  requireProtocol2(session, options.subject, 'listen');
  if (options.signal.aborted) throw cancelled(`listening on ${where}`);
  const sender = new StreamSender(session);
  const stream = new ListenStream(session, sender, where, options);
  sender.id = session.open(stream, frameType.listen, payload);
  return stream.opened.promise;
}
