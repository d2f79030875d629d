// One SSH channel with credit both ways: the client sends no more than the guest has taken, the guest no more than the client and the
// socket have room for. Either side may end its direction by itself.
import type { Readable, Writable } from 'node:stream';

/** RFC 4254 5.2: so much may come from the client before the guest has taken it. */
export const channelWindow = 1024 * 1024;
/** Largest packet either way. */
export const channelPacket = 32 * 1024;

export type Output = 'stdout' | 'stderr';

/** What a channel needs of its connection. */
export interface ChannelPort {
  readonly congested: boolean;
  data(remote: number, bytes: Buffer, output: Output): void;
  adjust(remote: number, bytes: number): void;
  eof(remote: number): void;
  close(remote: number): void;
  /** Both sides have closed: the numbers are free. */
  forget(local: number): void;
}

export interface ChannelEnds {
  /** Our number of the channel. */
  readonly local: number;
  /** The client's. */
  readonly remote: number;
  /** Bytes the client takes. */
  readonly window: number;
  readonly packetSize: number;
}

const maxClientWindow = 0xffff_ffff;

export class SshChannel {
  readonly #port: ChannelPort;
  readonly #ends: ChannelEnds;
  readonly #gone = new AbortController();
  readonly #inputEnded = Promise.withResolvers<void>();
  #outWindow: number;
  #inWindow = channelWindow;
  #consumed = 0;
  #sink: Writable | undefined;
  readonly #waitingInput: Buffer[] = [];
  #hasEof = false;
  #sentEof = false;
  #sentClose = false;
  #heardClose = false;
  #wakeups: (() => void)[] = [];

  constructor(port: ChannelPort, ends: ChannelEnds) {
    this.#port = port;
    this.#ends = ends;
    this.#outWindow = ends.window;
  }

  get local(): number {
    return this.#ends.local;
  }

  get remote(): number {
    return this.#ends.remote;
  }

  /** Fires once, when either side has closed the channel or the connection is lost. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** The client has ended its direction and the sink has been told, or the channel is gone. */
  get inputEnded(): Promise<void> {
    return this.#inputEnded.promise;
  }

  // ---- towards the client

  /** Resolves when all is on its way; false when the channel is gone. */
  async send(output: Output, bytes: Buffer): Promise<boolean> {
    let rest = bytes;
    while (rest.length > 0) {
      if (this.gone.aborted) return false;
      const size = this.#port.congested ? 0 : Math.min(rest.length, this.#outWindow, this.#ends.packetSize, channelPacket);
      if (size === 0) {
        await new Promise<void>((resolve) => { this.#wakeups.push(resolve); });
        continue;
      }
      this.#outWindow -= size;
      this.#port.data(this.#ends.remote, rest.subarray(0, size), output);
      rest = rest.subarray(size);
    }
    return !this.gone.aborted;
  }

  /** Sends everything that a stream gives, at the client's pace. False: it broke off, or the channel is gone. */
  async pump(from: Readable, output: Output): Promise<boolean> {
    try {
      // The other direction of a duplex lives on after this one's end.
      for await (const chunk of from.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        if (!(await this.send(output, chunk))) return false;
      }
      return true;
    } catch {
      // Destroyed before its end; why is told where the stream was made.
      return false;
    }
  }

  /** Nothing more comes from us. */
  eof(): void {
    if (this.#sentEof || this.#sentClose) return;
    this.#sentEof = true;
    this.#port.eof(this.#ends.remote);
  }

  close(): void {
    if (this.#sentClose) return;
    this.#sentClose = true;
    this.#port.close(this.#ends.remote);
    this.#end();
    if (this.#heardClose) this.#port.forget(this.#ends.local);
  }

  // ---- from the client

  /** Where the client's bytes go from now on, those that wait first. Ended with the client's direction. */
  attach(sink: Writable): void {
    // Who takes no input may still have output: its errors end only this direction.
    sink.on('error', () => undefined);
    this.#sink = sink;
    for (const bytes of this.#waitingInput.splice(0)) this.#deliver(bytes);
    if (this.#hasEof) this.#endSink();
  }

  /** @throws Error when the client sends more than it was granted, or after its end. */
  receive(bytes: Buffer): void {
    if (this.#hasEof) throw new Error('The client sent data after its end');
    if (bytes.length > this.#inWindow) throw new Error('The client sent more than its window');
    this.#inWindow -= bytes.length;
    if (this.#sentClose) this.#take(bytes.length);
    else if (this.#sink === undefined) this.#waitingInput.push(bytes);
    else this.#deliver(bytes);
  }

  receiveEof(): void {
    if (this.#hasEof) return;
    this.#hasEof = true;
    if (this.#sink !== undefined) this.#endSink();
  }

  receiveClose(): void {
    if (this.#heardClose) return;
    this.#heardClose = true;
    this.receiveEof();
    if (this.#sentClose) this.#port.forget(this.#ends.local);
    else this.close();
  }

  /** The client takes more. @throws Error when it is more than there can be. */
  adjust(bytes: number): void {
    if (this.#outWindow + bytes > maxClientWindow) throw new Error('The client granted more than a window can hold');
    this.#outWindow += bytes;
    this.wake();
  }

  /** There may be room again. */
  wake(): void {
    for (const wakeup of this.#wakeups.splice(0)) wakeup();
  }

  /** The connection is over. */
  lost(): void {
    this.#sentClose = true;
    this.#heardClose = true;
    this.#end();
  }

  #end(): void {
    this.#waitingInput.length = 0;
    this.#gone.abort();
    this.#inputEnded.resolve();
    this.wake();
  }

  #deliver(bytes: Buffer): void {
    const sink = this.#sink;
    // Whoever reads no more leaves the client free to send the rest.
    if (sink === undefined || !sink.writable) this.#take(bytes.length);
    else sink.write(bytes, () => this.#take(bytes.length));
  }

  /** Granted again by the half window; more often would only cost packets. */
  #take(bytes: number): void {
    this.#consumed += bytes;
    if (this.#consumed < channelWindow / 2 || this.#sentClose) return;
    this.#inWindow += this.#consumed;
    this.#port.adjust(this.#ends.remote, this.#consumed);
    this.#consumed = 0;
  }

  #endSink(): void {
    const sink = this.#sink;
    if (sink === undefined || !sink.writable) this.#inputEnded.resolve();
    else sink.end(() => this.#inputEnded.resolve());
  }
}
