// Frames and TLV payloads of the agent protocol (guest/README.md). What is parsed here comes from a hostile guest.

/** Bytes of a frame's header: length u32, type u8, flags u8, reserved u16, stream u32; little endian. */
export const headerBytes = 12;
/** Largest payload. */
export const maxPayload = 65536;
/** Bytes that may be under way in each direction of each channel of a stream. */
export const windowBytes = 256 * 1024;
/** Version the host speaks. */
export const agentProtocol = 2;

export const frameType = {
  info: 1, ping: 2, pong: 3,
  exec: 16, dial: 17, opened: 18, failed: 19, listen: 20,
  data: 32, eof: 33, window: 34, resize: 35, signal: 36, hangup: 37, exit: 38, close: 39, accepted: 40,
  shutdown: 48, shutdownAck: 49,
} as const;

export const tag = {
  version: 1, protocol: 2, bootId: 3, init: 4, problem: 5,
  arg: 16, env: 17, cwd: 18, user: 19, tty: 20, stdin: 21, line: 22, login: 23, builtin: 24, bulk: 25,
  host: 32, port: 33, path: 34, stream: 35,
  errno: 48, message: 49,
} as const;

export interface Frame { readonly type: number; readonly flags: number; readonly stream: number; readonly payload: Buffer }

/** The guest broke the protocol; the session is given up and begun anew. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
}

export function encodeFrame(type: number, stream: number, payload: Uint8Array, flags = 0): Buffer {
  return Buffer.concat([encodeHeader(type, stream, payload.length, flags), payload]);
}

/** Bytes before a payload of that length. */
export function encodeHeader(type: number, stream: number, length: number, flags = 0): Buffer {
  const out = Buffer.allocUnsafe(headerBytes);
  out.writeUInt32LE(length, 0);
  out.writeUInt8(type, 4);
  out.writeUInt8(flags, 5);
  out.writeUInt16LE(0, 6);
  out.writeUInt32LE(stream, 8);
  return out;
}

export function u32(value: number): Buffer {
  const out = Buffer.allocUnsafe(4);
  out.writeUInt32LE(value);
  return out;
}

export function u16(value: number): Buffer {
  const out = Buffer.allocUnsafe(2);
  out.writeUInt16LE(value);
  return out;
}

/** Cuts a byte stream into frames. Holds at most one incomplete frame. */
export class FrameParser {
  #pending: Buffer[] = [];
  #have = 0;
  /** Bytes needed before there is anything to do. */
  #need = headerBytes;

  reset(): void {
    this.#pending = [];
    this.#have = 0;
    this.#need = headerBytes;
  }

  /**
   * Calls `take` for each complete frame, until it returns false (what is left is dropped).
   * @throws ProtocolError when a length is over the limit.
   */
  push(chunk: Buffer, take: (frame: Frame) => boolean): void {
    this.#pending.push(chunk);
    this.#have += chunk.length;
    if (this.#have < this.#need) return;
    let rest: Buffer | undefined = chunk;
    if (this.#pending.length > 1) rest = this.#takeSplit(chunk, take);
    else this.reset();
    while (rest !== undefined && rest.length >= headerBytes) {
      const end = frameEnd(rest);
      if (end > rest.length) break;
      if (!take(frameAt(rest, end))) return;
      rest = rest.subarray(end);
    }
    if (rest !== undefined) this.#keep(rest);
  }

  /** The frame that begins in earlier chunks: only it is joined. @returns what is behind it in `chunk`; undefined when there is none to go on with */
  #takeSplit(chunk: Buffer, take: (frame: Frame) => boolean): Buffer | undefined {
    if (this.#need === headerBytes) {
      const head = Buffer.concat(this.#pending, headerBytes);
      this.#need = frameEnd(head);
      if (this.#have < this.#need) return undefined;
    }
    const size = this.#need;
    const behind = this.#have - size;
    const frame = Buffer.concat(this.#pending, size);
    this.reset();
    return take(frameAt(frame, size)) ? chunk.subarray(chunk.length - behind) : undefined;
  }

  #keep(rest: Buffer): void {
    if (rest.length === 0) return;
    this.#pending = [rest];
    this.#have = rest.length;
    this.#need = rest.length < headerBytes ? headerBytes : frameEnd(rest);
  }
}

/** @throws ProtocolError when the length is over the limit. */
function frameEnd(data: Buffer): number {
  const length = data.readUInt32LE(0);
  if (length > maxPayload) throw new ProtocolError(`A frame of ${length} bytes is over the limit`);
  return headerBytes + length;
}

function frameAt(data: Buffer, end: number): Frame {
  return { type: data.readUInt8(4), flags: data.readUInt8(5), stream: data.readUInt32LE(8), payload: data.subarray(headerBytes, end) };
}

/** Finds where a token ends in a byte stream, whatever pieces the stream comes in. */
export class TokenScanner {
  readonly #token: Buffer;
  #tail: Buffer = Buffer.alloc(0);

  constructor(token: Buffer) {
    this.#token = token;
  }

  /** Offsets in `chunk` right behind each token. Copies no more of it than a token is long: a bulk stream passes here. */
  push(chunk: Buffer): number[] {
    const size = this.#token.length;
    const ends: number[] = [];
    const border = this.#tail.length === 0 ? -1 : Buffer.concat([this.#tail, chunk.subarray(0, size - 1)]).indexOf(this.#token);
    if (border >= 0) ends.push(border + size - this.#tail.length);
    for (let at = chunk.indexOf(this.#token, ends[0] ?? 0); at >= 0; at = chunk.indexOf(this.#token, at + size)) ends.push(at + size);
    // The tail begins behind the last token: its bytes are not part of another.
    const last = ends.at(-1);
    const rest = last !== undefined || chunk.length >= size ? chunk.subarray(last ?? 0) : Buffer.concat([this.#tail, chunk]);
    this.#tail = Buffer.from(rest.subarray(Math.max(0, rest.length - size + 1)));
    return ends;
  }
}

export type TlvEntry = readonly [tag: number, value: Uint8Array | string];

/** @returns undefined when it is over the limits of an entry or a frame. */
export function encodeTlv(entries: readonly TlvEntry[]): Buffer | undefined {
  const parts: Buffer[] = [];
  let total = 0;
  for (const [entryTag, value] of entries) {
    const bytes = typeof value === 'string' ? Buffer.from(value) : Buffer.from(value);
    total += 4 + bytes.length;
    if (bytes.length > 0xffff || total > maxPayload) return undefined;
    parts.push(u16(entryTag), u16(bytes.length), bytes);
  }
  return Buffer.concat(parts, total);
}

/** @throws ProtocolError when an entry is cut. */
export function decodeTlv(payload: Buffer): { readonly tag: number; readonly value: Buffer }[] {
  const entries: { tag: number; value: Buffer }[] = [];
  let at = 0;
  while (at < payload.length) {
    if (payload.length - at < 4) throw new ProtocolError('A payload ends inside an entry');
    const end = at + 4 + payload.readUInt16LE(at + 2);
    if (end > payload.length) throw new ProtocolError('A payload ends inside an entry');
    entries.push({ tag: payload.readUInt16LE(at), value: payload.subarray(at + 4, end) });
    at = end;
  }
  return entries;
}
