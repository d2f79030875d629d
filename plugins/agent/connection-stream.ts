// A connection inside the guest as a stream of a session, whichever end began it.
import { operationFailed } from '../../core/plugin-api.ts';
import type { BangerError } from '../../core/plugin-api.ts';
import { requireLength } from './requests.ts';
import type { StreamSender } from './requests.ts';
import type { SessionStream } from './session.ts';
import { DialStream } from './streams.ts';
import { frameType } from './wire.ts';
import type { Frame } from './wire.ts';

export class ConnectionStream implements SessionStream {
  readonly duplex: DialStream;
  readonly #what: string;

  /** `what` reads like "connection to localhost:80 in devbox". */
  constructor(sender: StreamSender, what: string) {
    this.#what = what;
    this.duplex = new DialStream(sender);
    // An owner that forgot to listen must not bring the daemon down.
    this.duplex.on('error', () => undefined);
  }

  onFrame(frame: Frame): boolean {
    switch (frame.type) {
      case frameType.data:
        this.duplex.receive(frame.payload);
        return true;
      case frameType.eof:
        this.duplex.endReading();
        return true;
      case frameType.window:
        this.duplex.grant(requireLength(frame, 4).readUInt32LE(0));
        return true;
      case frameType.close:
        this.duplex.gone(requireLength(frame, 4).readUInt32LE(0) === 0 ? undefined : operationFailed(`${this.#what} was reset`));
        return false;
      default:
        return true;
    }
  }

  onLost(error: BangerError): void {
    this.duplex.gone(error);
  }
}
