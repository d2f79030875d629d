// A guest agent that does what a test tells it: a unix socket that speaks the agent's wire (guest/README.md), rightly or wrongly. It stands where a
// VM's agent stands in a real daemon (hostile-daemon.ts).
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { rmSync } from 'node:fs';
import { decodeTlv, encodeFrame, encodeTlv, frameType, headerBytes, tag, u32, windowBytes } from '../../plugins/agent/wire.ts';
import type { TlvEntry } from '../../plugins/agent/wire.ts';

const idBytes = 16;

/** What the host asked for: EXEC, DIAL, LISTEN or SHUTDOWN, with its fields. */
export interface HostRequest {
  readonly type: number;
  readonly words: readonly string[];
  readonly fields: readonly { readonly tag: number; readonly value: Buffer }[];
  /** First field of a tag, as text. */
  text(wanted: number): string | undefined;
}
export interface HostileOptions {
  /** What to do with a stream that the host opens. Never settles: never answers. */
  readonly onOpen?: (stream: HostileStream) => Promise<void> | void;
  /** What is written right after the hello, in place of INFO. */
  readonly greeting?: Buffer;
  /** Protocol that INFO names. @default 2 */
  readonly protocol?: number;
}

/** One stream the host opened, and every way to answer it. */
export class HostileStream {
  readonly id: number;
  readonly request: HostRequest;
  readonly connection: HostileConnection;
  /** Bytes of DATA that came; with `grants`, room is given back for each. */
  readonly received: Buffer[] = [];
  grants = true;
  #credit = windowBytes;
  #wakeSender: (() => void) | undefined;
  readonly #inputEnd = Promise.withResolvers<void>();
  readonly #over = Promise.withResolvers<void>();

  constructor(connection: HostileConnection, id: number, request: HostRequest) {
    this.connection = connection;
    this.id = id;
    this.request = request;
  }
  /** EOF, HANGUP or CLOSE came from the host, or the connection is lost. */
  get inputEnded(): Promise<void> { return this.#inputEnd.promise; }
  /** HANGUP or CLOSE came from the host, or the connection is lost. */
  get over(): Promise<void> { return this.#over.promise; }

  opened(value = 1): void { this.frame(frameType.opened, u32(value)); }
  failed(errno: number, message: string): void {
    this.frame(frameType.failed, encodeTlv([[tag.errno, u32(errno)], [tag.message, message]])!);
  }
  /** One DATA frame, whatever the window says. */
  data(bytes: Uint8Array | string, channel = 0): void { this.frame(frameType.data, Buffer.from(bytes as string), channel); }
  eof(channel = 0): void { this.frame(frameType.eof, Buffer.alloc(0), channel); }
  exit(code: number): void { this.frame(frameType.exit, Buffer.concat([u32(0), u32(code)])); }
  window(bytes: number): void { this.frame(frameType.window, u32(bytes)); }
  frame(type: number, payload: Uint8Array, flags = 0): void { this.connection.raw(encodeFrame(type, this.id, payload, flags)); }

  /** All of it within the window, as a well-behaved agent does. Ends early when the host gives the stream up. */
  async flow(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length && !this.connection.closed;) {
      const size = Math.min(32 * 1024, this.#credit, bytes.length - at);
      if (size > 0) {
        this.#credit -= size;
        this.data(bytes.subarray(at, at + size));
        at += size;
      } else {
        const room = new Promise<void>((resolve) => { this.#wakeSender = resolve; });
        if (await Promise.race([room, this.over.then(() => 'over')]) === 'over') return;
      }
    }
  }

  /** Calls back every `everyMs` until the stream or the connection is over. */
  async every(everyMs: number, act: () => void): Promise<void> {
    const timer = setInterval(act, everyMs);
    await this.over;
    clearInterval(timer);
  }

  /** @internal A frame of the host for this stream. */
  take(type: number, payload: Buffer): void {
    if (type === frameType.data) {
      this.received.push(payload);
      if (this.grants) this.window(payload.length);
    } else if (type === frameType.window) {
      this.#credit += payload.readUInt32LE(0);
      this.#wakeSender?.();
    } else if (type === frameType.eof) {
      this.#inputEnd.resolve();
    } else if (type === frameType.hangup || type === frameType.close) {
      this.lost();
    }
  }
  /** @internal */
  lost(): void {
    this.#inputEnd.resolve();
    this.#over.resolve();
  }
}

/** One connection of the host: its hello is answered, its frames are taken apart. */
export class HostileConnection {
  readonly #socket: Socket;
  readonly #agent: HostileAgent;
  readonly #streams = new Map<number, HostileStream>();
  #token: Buffer | undefined;
  #rest: Buffer = Buffer.alloc(0);
  closed = false;

  constructor(socket: Socket, agent: HostileAgent) {
    this.#socket = socket;
    this.#agent = agent;
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => {
      this.closed = true;
      this.#forgetAll();
    });
  }
  /** Any bytes, in any state. */
  raw(bytes: Uint8Array): void { if (!this.closed) this.#socket.write(bytes); }
  destroy(): void { this.#socket.destroy(); }

  #forgetAll(): void {
    for (const stream of this.#streams.values()) stream.lost();
    this.#streams.clear();
  }

  #onData(chunk: Buffer): void {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (;;) {
      // The first bytes ever are a token; later ones stand where a frame begins, as the host sends whole frames only.
      const isHello = this.#rest.length >= idBytes && (this.#token === undefined || this.#rest.subarray(0, idBytes).equals(this.#token));
      if (isHello) {
        if (this.#rest.length < 2 * idBytes) return;
        this.#hello();
        continue;
      }
      if (this.#token === undefined || this.#rest.length < headerBytes) return;
      const end = headerBytes + this.#rest.readUInt32LE(0);
      if (this.#rest.length < end) return;
      const frame = this.#rest.subarray(0, end);
      this.#rest = this.#rest.subarray(end);
      this.#onFrame(frame);
    }
  }

  #hello(): void {
    this.#token = Buffer.from(this.#rest.subarray(0, idBytes));
    const answer = Buffer.from(this.#rest.subarray(0, 2 * idBytes));
    this.#rest = this.#rest.subarray(2 * idBytes);
    this.#forgetAll();
    this.#agent.hellos += 1;
    this.raw(answer);
    this.raw(this.#agent.options.greeting ?? encodeFrame(frameType.info, 0, this.#info()));
  }

  #info(): Buffer {
    const entries: TlvEntry[] = [[tag.version, 'hostile'], [tag.protocol, u32(this.#agent.options.protocol ?? 2)], [tag.bootId, '00000000-0000-4000-8000-000000000000'], [tag.init, 'agent']];
    return encodeTlv(entries)!;
  }

  #onFrame(frame: Buffer): void {
    const [type, id, payload] = [frame.readUInt8(4), frame.readUInt32LE(8), frame.subarray(headerBytes)];
    if (type === frameType.ping) return this.raw(encodeFrame(frameType.pong, id, payload));
    const isOpening = ([frameType.exec, frameType.dial, frameType.listen, frameType.shutdown] as number[]).includes(type);
    if (!isOpening) return this.#streams.get(id)?.take(type, payload);
    const stream = new HostileStream(this, id, parseRequest(type, payload));
    this.#streams.set(id, stream);
    this.#agent.requests.push(stream.request);
    // A guest that goes down when asked, so that VMs of tests end soon.
    if (type === frameType.shutdown) return stream.frame(frameType.shutdownAck, u32(0));
    void Promise.resolve(this.#agent.options.onOpen?.(stream)).catch((error: unknown) => this.#agent.failures.push(error));
  }
}

function parseRequest(type: number, payload: Buffer): HostRequest {
  const fields = type === frameType.shutdown ? [] : decodeTlv(payload);
  const texts = (wanted: number): string[] => fields.filter((field) => field.tag === wanted).map((field) => field.value.toString());
  return { type, fields, words: texts(tag.arg), text: (wanted) => texts(wanted)[0] };
}

export class HostileAgent {
  readonly socketPath: string;
  /** May be replaced at any time; counts from the next stream or hello. */
  options: HostileOptions;
  /** Everything the host has asked for. */
  readonly requests: HostRequest[] = [];
  /** What `onOpen` threw: mistakes of the test. */
  readonly failures: unknown[] = [];
  hellos = 0;
  readonly #connections = new Set<HostileConnection>();
  #server: Server | undefined;

  constructor(socketPath: string, options: HostileOptions = {}) {
    this.socketPath = socketPath;
    this.options = options;
  }
  async listen(): Promise<this> {
    const server = createServer((socket) => {
      const connection = new HostileConnection(socket, this);
      this.#connections.add(connection);
      socket.on('close', () => this.#connections.delete(connection));
    });
    this.#server = server;
    await new Promise<void>((resolve, reject) => { server.once('error', reject).listen(this.socketPath, resolve); });
    return this;
  }
  async close(): Promise<void> {
    for (const connection of this.#connections) connection.destroy();
    await new Promise<void>((resolve) => { if (this.#server) this.#server.close(() => resolve()); else resolve(); });
    rmSync(this.socketPath, { force: true });
  }
}
