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
    const size = this.#payloadLength();
    if (size > maxFramePayload) throw new RangeError(`Frame payload of ${size} bytes is over ${maxFramePayload}`);
    if (this.#length < frameHeaderBytes + size) return undefined;
    const frame = this.#take(frameHeaderBytes + size);
    return { kind: frame.readUInt8(0), payload: frame.subarray(frameHeaderBytes) };
  }

  #payloadLength(): number {
    const first = this.#chunks[0] as Buffer;
    if (first.length >= frameHeaderBytes) return first.readUInt32BE(1);
    const head = this.#take(frameHeaderBytes);
    this.#chunks.unshift(head);
    this.#length += head.length;
    return head.readUInt32BE(1);
  }

  /** The first `size` bytes in one piece. Copies them only when they are split, and nothing else: a bulk stream would keep the garbage collector busy. */
  #take(size: number): Buffer {
    const first = this.#chunks[0] as Buffer;
    this.#length -= size;
    if (first.length >= size) {
      this.#drop(first, size);
      return first.subarray(0, size);
    }
    const whole = Buffer.allocUnsafe(size);
    for (let at = 0; at < size;) {
      const chunk = this.#chunks[0] as Buffer;
      const part = chunk.copy(whole, at, 0, size - at);
      this.#drop(chunk, part);
      at += part;
    }
    return whole;
  }

  /** `chunk`: the first one. */
  #drop(chunk: Buffer, bytes: number): void {
    if (bytes === chunk.length) this.#chunks.shift();
    else this.#chunks[0] = chunk.subarray(bytes);
  }
}
