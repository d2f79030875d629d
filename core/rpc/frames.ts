// Frames of byte streams: kind (1 byte), payload length (4 bytes, big endian, at most 1 MiB), payload.

export const maxFramePayload = 1024 * 1024;
export const frameHeaderBytes = 5;

export function frameHeader(kind: number, payloadLength: number): Buffer {
  const header = Buffer.allocUnsafe(frameHeaderBytes);
  header.writeUInt8(kind, 0);
  header.writeUInt32BE(payloadLength, 1);
  return header;
}

export function encodeFrame(kind: number, payload: Uint8Array): Buffer {
  if (payload.length > maxFramePayload) throw new RangeError(`Frame payload of ${payload.length} bytes is over ${maxFramePayload}`);
  return Buffer.concat([frameHeader(kind, payload.length), payload]);
}

export interface Frame { readonly kind: number; readonly payload: Buffer }

/** Cuts a byte stream into frames; holds at most one unfinished frame and the last chunk. */
export class FrameDecoder {
  #chunks: Buffer[] = [];
  #length = 0;

  /** Bytes not yet given out. */
  get bufferedBytes(): number {
    return this.#length;
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    // A peer that sends byte by byte must not cost an object a byte: many small chunks become one.
    if (this.#chunks.length > 64) this.#chunks = [Buffer.concat(this.#chunks, this.#length)];
  }

  /** @throws RangeError for a length over 1 MiB; the stream cannot be used any further. */
  next(): Frame | undefined {
    if (this.#length < frameHeaderBytes) return undefined;
    const head = this.#front(frameHeaderBytes);
    const size = head.readUInt32BE(1);
    if (size > maxFramePayload) throw new RangeError(`Frame payload of ${size} bytes is over ${maxFramePayload}`);
    if (this.#length < frameHeaderBytes + size) return undefined;
    const frame = this.#front(frameHeaderBytes + size);
    const rest = (this.#chunks[0] as Buffer).subarray(frame.length);
    if (rest.length === 0) this.#chunks.shift();
    else this.#chunks[0] = rest;
    this.#length -= frame.length;
    return { kind: frame.readUInt8(0), payload: frame.subarray(frameHeaderBytes) };
  }

  /** The first `size` bytes in one piece; joins chunks only when they are split. */
  #front(size: number): Buffer {
    let first = this.#chunks[0] as Buffer;
    if (first.length < size) {
      first = Buffer.concat(this.#chunks, this.#length);
      this.#chunks = [first];
    }
    return first.subarray(0, size);
  }
}
