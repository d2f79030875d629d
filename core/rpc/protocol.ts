// The line protocol: one JSON-RPC 2.0 document a line, bounded. Shared by server and client, so it imports nothing heavy.
import { isUtf8 } from 'node:buffer';

/** JSON-RPC 2.0 section 5.1; `banger` is the one number of ours, the code word travels in `data.code`. */
export const rpcCode = {
  parse: -32700,
  invalidRequest: -32600,
  methodNotFound: -32601,
  invalidParams: -32602,
  internal: -32603,
  banger: -32000,
} as const;

export type RpcId = number | string;

export interface RequestMessage {
  readonly kind: 'request';
  readonly id: RpcId;
  readonly method: string;
  readonly params: unknown;
}
export type Incoming =
  | RequestMessage
  | { readonly kind: 'notification'; readonly method: string; readonly params: unknown }
  | { readonly kind: 'attach'; readonly ticket: string }
  | { readonly kind: 'fault'; readonly id: RpcId | null; readonly code: number; readonly message: string };

const newline = 0x0a;
const maxIdLength = 128;

/**
 * Cuts a byte stream into lines and never keeps more than `maxLineBytes` of an unfinished one.
 *
 * Call `next` until it gives `undefined`, then push the next chunk. After an overflow it drops everything it gets.
 */
export class LineReader {
  readonly #maxLineBytes: number;
  #chunk: Buffer = Buffer.alloc(0);
  #offset = 0;
  // One growing buffer, not a list of chunks: a peer that sends byte by byte must not cost an object a byte.
  #partial: Buffer | undefined;
  #partialLength = 0;
  #overflowed = false;

  constructor(maxLineBytes: number) {
    this.#maxLineBytes = maxLineBytes;
  }

  get overflowed(): boolean {
    return this.#overflowed;
  }
  /** Bytes of an unfinished line. */
  get partialBytes(): number {
    return this.#partialLength;
  }
  /** Memory held, room to grow included. */
  get bufferedBytes(): number {
    return (this.#partial?.length ?? 0) + this.#chunk.length - this.#offset;
  }

  push(chunk: Buffer): void {
    if (this.#overflowed) return;
    this.#chunk = this.#offset < this.#chunk.length ? Buffer.concat([this.#chunk.subarray(this.#offset), chunk]) : chunk;
    this.#offset = 0;
  }

  /** The next line without its newline, valid until the next call; `undefined` when there is none yet, or after an overflow. */
  next(): Buffer | undefined {
    if (this.#overflowed) return undefined;
    const end = this.#chunk.indexOf(newline, this.#offset);
    const stop = end === -1 ? this.#chunk.length : end;
    if (this.#partialLength + stop - this.#offset > this.#maxLineBytes) {
      this.#overflowed = true;
      this.#reset();
      return undefined;
    }
    const piece = this.#chunk.subarray(this.#offset, stop);
    this.#offset = end === -1 ? stop : stop + 1;
    if (end === -1) {
      this.#keep(piece);
      this.#chunk = Buffer.alloc(0);
      this.#offset = 0;
      return undefined;
    }
    if (this.#partialLength === 0) return piece;
    this.#keep(piece);
    const line = (this.#partial as Buffer).subarray(0, this.#partialLength);
    this.#partial = undefined;
    this.#partialLength = 0;
    return line;
  }

  /** What came after the last line; the reader is empty afterwards. For a connection that turns into a byte stream. */
  takeRest(): Buffer {
    const rest = Buffer.from(this.#chunk.subarray(this.#offset));
    this.#reset();
    return rest;
  }

  #keep(piece: Buffer): void {
    const wanted = this.#partialLength + piece.length;
    if (wanted === 0) return;
    if (this.#partial === undefined || this.#partial.length < wanted) {
      const grown = Buffer.allocUnsafeSlow(Math.max(wanted, Math.min(2 * wanted, this.#maxLineBytes), 256));
      this.#partial?.copy(grown, 0, 0, this.#partialLength);
      this.#partial = grown;
    }
    piece.copy(this.#partial, this.#partialLength);
    this.#partialLength = wanted;
  }

  #reset(): void {
    this.#chunk = Buffer.alloc(0);
    this.#offset = 0;
    this.#partial = undefined;
    this.#partialLength = 0;
  }
}

/** Parses one line of JSON; throws on broken UTF-8 too, which `toString` would silently replace. */
export function parseJsonLine(line: Buffer): unknown {
  if (!isUtf8(line)) throw new SyntaxError('Line is not UTF-8');
  return JSON.parse(line.toString('utf8'));
}

/** What a client may say. Never throws: whatever is wrong becomes a `fault` with JSON-RPC's own number. */
export function parseIncoming(line: Buffer): Incoming {
  let value: unknown;
  try {
    value = parseJsonLine(line);
  } catch {
    // The parser's own message quotes the input; the client knows what it sent.
    return { kind: 'fault', id: null, code: rpcCode.parse, message: 'Line is not a JSON document' };
  }
  if (Array.isArray(value)) return invalid(null, 'Batches are not supported; send one request a line');
  if (typeof value !== 'object' || value === null) return invalid(null, 'Request is not an object');
  const message = value as Readonly<Record<string, unknown>>;
  if (typeof message['attach'] === 'string' && Object.keys(message).length === 1) return { kind: 'attach', ticket: message['attach'] };
  return parseRequest(message);
}

function parseRequest(message: Readonly<Record<string, unknown>>): Incoming {
  const { id, method, params } = message;
  const hasId = Object.hasOwn(message, 'id');
  if (hasId && !isRpcId(id)) return invalid(null, `Request id is neither a number nor a text of at most ${maxIdLength} characters`);
  const known = hasId ? (id as RpcId) : null;
  if (message['jsonrpc'] !== '2.0') return invalid(known, 'Request is not JSON-RPC 2.0');
  if (typeof method !== 'string') return invalid(known, 'Request has no method');
  if ('result' in message || 'error' in message) return invalid(known, 'Request has a result');
  if (params !== undefined && (typeof params !== 'object' || params === null || Array.isArray(params))) {
    return { kind: 'fault', id: known, code: rpcCode.invalidParams, message: 'Params are not an object' };
  }
  return known === null ? { kind: 'notification', method, params } : { kind: 'request', id: known, method, params };
}

function invalid(id: RpcId | null, message: string): Incoming {
  return { kind: 'fault', id, code: rpcCode.invalidRequest, message };
}

function isRpcId(value: unknown): value is RpcId {
  return typeof value === 'number' ? Number.isFinite(value) : typeof value === 'string' && value.length <= maxIdLength;
}
