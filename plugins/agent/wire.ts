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
  arg: 16, env: 17, cwd: 18, user: 19, tty: 20, stdin: 21, line: 22, login: 23, builtin: 24,
  host: 32, port: 33, path: 34, stream: 35,
  errno: 48, message: 49,
} as const;

export interface Frame { readonly type: number; readonly flags: number; readonly stream: number; readonly payload: Buffer }

/** The guest broke the protocol; the session is given up and begun anew. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
}

export function encodeFrame(type: number, stream: number, payload: Uint8Array, flags = 0): Buffer {
  const out = Buffer.allocUnsafe(headerBytes + payload.length);
  out.writeUInt32LE(payload.length, 0);
  out.writeUInt8(type, 4);
  out.writeUInt8(flags, 5);
  out.writeUInt16LE(0, 6);
  out.writeUInt32LE(stream, 8);
  out.set(payload, headerBytes);
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
    const data = this.#pending.length === 1 ? chunk : Buffer.concat(this.#pending, this.#have);
    this.reset();
    let at = 0;
    while (data.length - at >= headerBytes) {
      const length = data.readUInt32LE(at);
      if (length > maxPayload) throw new ProtocolError(`A frame of ${length} bytes is over the limit`);
      const end = at + headerBytes + length;
      if (end > data.length) break;
      const frame = { type: data.readUInt8(at + 4), flags: data.readUInt8(at + 5), stream: data.readUInt32LE(at + 8), payload: data.subarray(at + headerBytes, end) };
      at = end;
      if (!take(frame)) return;
    }
    this.#keep(data.subarray(at));
  }

  #keep(rest: Buffer): void {
    if (rest.length === 0) return;
    this.#pending = [rest];
    this.#have = rest.length;
    this.#need = rest.length < headerBytes ? headerBytes : headerBytes + rest.readUInt32LE(0);
  }
}

/** Finds where a token ends in a byte stream, whatever pieces the stream comes in. */
export class TokenScanner {
  readonly #token: Buffer;
  #tail: Buffer = Buffer.alloc(0);

  constructor(token: Buffer) {
    this.#token = token;
  }

  /** Offsets in `chunk` right behind each token. */
  push(chunk: Buffer): number[] {
    const joined = this.#tail.length === 0 ? chunk : Buffer.concat([this.#tail, chunk]);
    const shift = joined.length - chunk.length;
    const ends: number[] = [];
    let at = joined.indexOf(this.#token);
    while (at >= 0) {
      ends.push(at + this.#token.length - shift);
      at = joined.indexOf(this.#token, at + this.#token.length);
    }
    // The tail begins behind the last token: its bytes are not part of another.
    const last = (ends.at(-1) ?? -shift) + shift;
    this.#tail = Buffer.from(joined.subarray(Math.max(last, joined.length - this.#token.length + 1)));
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
