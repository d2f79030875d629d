// A socket as a framed byte stream with back-pressure both ways. Used by both ends.
import type { Socket } from 'node:net';
import { BangerError } from '../errors.ts';
import { frameKind } from '../api.ts';
import type { FrameStream } from '../plugin-api.ts';
import { FrameDecoder, frameHeader, maxFramePayload } from './frames.ts';

/** How long a handler may hold up reading before we look whether the peer still lives. */
const stallProbeMs = 1_000;
/** How long the peer may take to close its side after ours is out. Closing over its unread bytes would cost it what it has not read. */
const lingerMs = 5_000;

type FrameHandler = (kind: number, payload: Buffer) => Promise<void> | void;

export interface SocketFrameStream extends FrameStream {
  /** Bytes held in our process, both directions. */
  bufferedBytes(): number;
}

export interface FrameStreamOptions {
  /** What was read behind the attach line. */
  readonly first?: Buffer;
  /** What the peer's end of file means once its last frame was handled: we send what waits and close, or nobody is left to send to. */
  readonly onPeerEnd: 'end' | 'destroy';
}

/**
 * Takes the socket over.
 *
 * A stream ends as a whole: after `end` no frame is handed out any more, and the peer's end of file ends it after its last frame. (An exec
 * tells the end of its input by an empty stdin frame.) A malformed frame destroys the stream.
 */
export function createFrameStream(socket: Socket, options: FrameStreamOptions): SocketFrameStream {
  return new StreamOverSocket(socket, options);
}

class StreamOverSocket implements SocketFrameStream {
  readonly #socket: Socket;
  readonly #decoder = new FrameDecoder();
  readonly #closeListeners = new Set<() => void>();
  /** Senders that wait for room. One list and one listener: many senders must not pile up listeners. */
  readonly #waiting: { resolve(): void; reject(error: Error): void }[] = [];
  #handler: FrameHandler | undefined;
  readonly #handlerSet = Promise.withResolvers<void>();
  #pumping = false;
  readonly #onPeerEnd: 'end' | 'destroy';
  #ended = false;
  #peerEnded = false;
  #closed = false;

  constructor(socket: Socket, options: FrameStreamOptions) {
    this.#socket = socket;
    this.#onPeerEnd = options.onPeerEnd;
    if (options.first !== undefined) this.#decoder.push(options.first);
    socket.pause();
    socket.on('data', (chunk: Buffer) => {
      if (this.#ended) return;
      this.#decoder.push(chunk);
      void this.#pump();
    });
    socket.on('drain', () => {
      for (const waiter of this.#waiting.splice(0)) waiter.resolve();
    });
    socket.on('end', () => {
      // May come while frames still wait here, even though reading is paused.
      this.#peerEnded = true;
      void this.#pump();
    });
    socket.on('finish', () => {
      const linger = setTimeout(() => socket.destroy(), lingerMs).unref();
      socket.once('close', () => clearTimeout(linger));
    });
    socket.on('error', () => socket.destroy()); // 'close' follows; a vanished peer is an ordinary end
    socket.on('close', () => this.#markClosed());
    if (socket.destroyed) queueMicrotask(() => this.#markClosed());
    void this.#whileProbing(this.#handlerSet.promise);
  }

  bufferedBytes(): number {
    return this.#decoder.bufferedBytes + this.#socket.writableLength;
  }

  async send(kind: number, payload: Uint8Array): Promise<void> {
    if (payload.length > maxFramePayload) throw new RangeError(`Frame payload of ${payload.length} bytes is over ${maxFramePayload}`);
    if (this.#closed || this.#ended) throw streamClosed();
    this.#socket.cork();
    this.#socket.write(frameHeader(kind, payload.length));
    if (payload.length > 0) this.#socket.write(payload);
    this.#socket.uncork();
    if (this.#socket.writableNeedDrain) await this.#drained();
  }

  onFrame(handler: FrameHandler): void {
    if (this.#handler !== undefined) throw new Error('A frame stream has one frame handler');
    this.#handler = handler;
    this.#handlerSet.resolve();
    void this.#pump();
  }

  onClose(listener: () => void): void {
    if (this.#closed) queueMicrotask(listener);
    else this.#closeListeners.add(listener);
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#socket.end();
    this.#socket.resume(); // throws away what comes, up to the end of file
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Hands out frames one after another; reading stands still meanwhile, which is the back-pressure. */
  async #pump(): Promise<void> {
    if (this.#pumping || this.#ended) return;
    if (this.#handler === undefined) {
      if (this.#peerEnded && this.#decoder.bufferedBytes === 0) this.#concludeAfterPeer();
      return;
    }
    this.#pumping = true;
    this.#socket.pause();
    try {
      await this.#handOut(this.#handler);
    } catch {
      // A malformed frame, or a handler that failed: neither leaves a stream that can go on. Handlers report their own errors.
      this.#socket.destroy();
    }
    this.#pumping = false;
    if (this.#peerEnded) this.#concludeAfterPeer();
    else if (!this.#socket.destroyed) this.#socket.resume();
  }

  async #handOut(handler: FrameHandler): Promise<void> {
    for (let frame = this.#decoder.next(); frame !== undefined; frame = this.#decoder.next()) {
      if (frame.kind === frameKind.keepalive) continue;
      const pending = handler(frame.kind, frame.payload);
      if (pending !== undefined) await this.#whileProbing(pending);
      if (this.#ended || this.#socket.destroyed) return;
    }
  }

  #concludeAfterPeer(): void {
    if (this.#onPeerEnd === 'destroy') this.#socket.destroy();
    else this.end();
  }

  /** While reading stands still nobody would notice that the peer died; a frame it ignores makes the kernel tell. */
  async #whileProbing(pending: Promise<void>): Promise<void> {
    const timer = setInterval(() => {
      if (!this.#ended && this.#socket.writable && this.#socket.writableLength === 0) this.#socket.write(frameHeader(frameKind.keepalive, 0));
    }, stallProbeMs);
    timer.unref();
    try {
      await pending;
    } finally {
      clearInterval(timer);
    }
  }

  #drained(): Promise<void> {
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  #markClosed(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#handlerSet.resolve();
    for (const waiter of this.#waiting.splice(0)) waiter.reject(streamClosed());
    for (const listener of this.#closeListeners) listener();
    this.#closeListeners.clear();
  }
}

function streamClosed(): BangerError {
  return new BangerError('operation_failed', 'The stream is closed');
}
