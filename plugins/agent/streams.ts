// Byte streams with credit: neither side sends more than the other has room for, so one slow reader stalls only itself.
import { Duplex, Readable, Writable } from 'node:stream';
import { maxPayload, ProtocolError, windowBytes } from './wire.ts';

/** What a stream needs of its session. */
export interface StreamPort {
  data(bytes: Uint8Array): void;
  eof(): void;
  window(channel: number, bytes: number): void;
}

/** Grants are gathered to a quarter of the window; more often would only cost frames. */
const grantStep = windowBytes / 4;
const maxChunk = maxPayload;

/** Counts one incoming channel: what the guest may still send, and what it must yet be told was read. */
class Intake {
  #allowed = windowBytes;
  #ungranted = 0;
  readonly #grant: (bytes: number) => void;

  constructor(grant: (bytes: number) => void) {
    this.#grant = grant;
  }

  /** @throws ProtocolError when the guest sent more than it was granted. */
  received(bytes: number): void {
    this.#allowed -= bytes;
    if (this.#allowed < 0) throw new ProtocolError('The guest sent more than its window');
  }

  /** So many of the received bytes lie unread in a buffer. */
  buffered(unread: number): void {
    this.#ungranted = windowBytes - this.#allowed - unread;
    if (this.#ungranted < grantStep) return;
    this.#allowed += this.#ungranted;
    this.#grant(this.#ungranted);
  }
}

/** Sends what fits the credit and keeps the rest of one write until more comes. */
class Outlet {
  #credit = windowBytes;
  #rest: Buffer | undefined;
  #done: (() => void) | undefined;
  #closed = false;
  readonly #send: (bytes: Uint8Array) => void;

  constructor(send: (bytes: Uint8Array) => void) {
    this.#send = send;
  }

  write(chunk: Buffer, done: () => void): void {
    this.#rest = chunk;
    this.#done = done;
    this.#pump();
  }

  /** @throws ProtocolError when the guest grants more than the window. */
  grant(bytes: number): void {
    this.#credit += bytes;
    if (this.#credit > windowBytes) throw new ProtocolError('The guest granted more than its window');
    this.#pump();
  }

  /** Nobody reads any more: what is written from now on vanishes. */
  close(): void {
    this.#closed = true;
    this.#pump();
  }

  #pump(): void {
    while (this.#rest !== undefined && this.#rest.length > 0 && !this.#closed && this.#credit > 0) {
      const part = this.#rest.subarray(0, Math.min(maxChunk, this.#credit));
      this.#rest = this.#rest.subarray(part.length);
      this.#credit -= part.length;
      this.#send(part);
    }
    if (this.#rest === undefined || (this.#rest.length > 0 && !this.#closed)) return;
    const done = this.#done;
    this.#rest = undefined;
    this.#done = undefined;
    done?.();
  }
}

/** Output of a guest process. */
export class ChannelReader extends Readable {
  readonly #intake: Intake;
  #ended = false;

  constructor(port: StreamPort, channel: number) {
    super({ highWaterMark: 64 * 1024 });
    this.#intake = new Intake((bytes) => port.window(channel, bytes));
  }

  override _read(): void {
    // Node calls this before it takes what `read()` returns out of the buffer; only afterwards is the count true.
    process.nextTick(() => this.#intake.buffered(this.destroyed ? 0 : this.readableLength));
  }

  /** @throws ProtocolError */
  receive(bytes: Buffer): void {
    if (this.#ended) throw new ProtocolError('The guest sent data after the end');
    this.#intake.received(bytes.length);
    // Nobody wants it, but the process must not stop for that.
    if (this.destroyed) this.#intake.buffered(0);
    else this.push(bytes);
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    if (!this.destroyed) this.push(null);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#intake.buffered(0);
    callback(error);
  }
}

/** Input of a guest process. Writing after the process has ended does nothing, as with output nobody reads. */
export class ChannelWriter extends Writable {
  readonly #outlet: Outlet;
  readonly #port: StreamPort;
  #closed = false;

  constructor(port: StreamPort) {
    super({ highWaterMark: 64 * 1024 });
    this.#port = port;
    this.#outlet = new Outlet((bytes) => port.data(bytes));
  }

  override _write(chunk: Buffer | string, encoding: BufferEncoding, callback: () => void): void {
    this.#outlet.write(typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk, callback);
  }

  override _final(callback: () => void): void {
    if (!this.#closed) this.#port.eof();
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (!this.#closed && !this.writableFinished) this.#port.eof();
    this.close();
    callback(error);
  }

  grant(bytes: number): void {
    this.#outlet.grant(bytes);
  }

  close(): void {
    this.#closed = true;
    this.#outlet.close();
  }
}

/** A connection made in the guest. Half-open is allowed: end either direction by itself. */
export class DialStream extends Duplex {
  readonly #intake: Intake;
  readonly #outlet: Outlet;
  readonly #port: StreamPort & { close(): void };
  #ended = false;
  #gone = false;

  constructor(port: StreamPort & { close(): void }) {
    super({ allowHalfOpen: true, highWaterMark: 64 * 1024 });
    this.#port = port;
    this.#intake = new Intake((bytes) => port.window(0, bytes));
    this.#outlet = new Outlet((bytes) => port.data(bytes));
  }

  override _read(): void {
    process.nextTick(() => {
      if (!this.#gone) this.#intake.buffered(this.readableLength);
    });
  }

  override _write(chunk: Buffer | string, encoding: BufferEncoding, callback: () => void): void {
    this.#outlet.write(typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk, callback);
  }

  override _final(callback: () => void): void {
    if (!this.#gone) this.#port.eof();
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (!this.#gone) this.#port.close();
    this.#gone = true;
    this.#outlet.close();
    callback(error);
  }

  /** @throws ProtocolError */
  receive(bytes: Buffer): void {
    if (this.#ended) throw new ProtocolError('The guest sent data after the end');
    this.#intake.received(bytes.length);
    if (!this.destroyed) this.push(bytes);
  }

  endReading(): void {
    if (this.#ended) return;
    this.#ended = true;
    if (!this.destroyed) this.push(null);
  }

  grant(bytes: number): void {
    this.#outlet.grant(bytes);
  }

  /** The guest's side is over; `error` when it did not end well. */
  gone(error?: Error): void {
    this.#gone = true;
    this.#outlet.close();
    if (error !== undefined) return void this.destroy(error);
    this.endReading();
    if (this.writableEnded) return;
    // The guest has closed it as a whole: who writes on learns that, once what came before has been read.
    if (this.readableEnded) this.destroy();
    else this.once('end', () => this.destroy());
  }
}
