// The OpenSSH private key format (openssh-key-v1, PROTOCOL.key in OpenSSH's sources), unencrypted, and public key lines.
import { generateKeyPairSync, randomBytes } from 'node:crypto';

export interface KeyPair {
  /** PEM text as ssh-keygen writes it. */
  readonly privateKey: string;
  /** `ssh-ed25519 AAAA... comment`. */
  readonly publicKey: string;
}

const magic = Buffer.from('openssh-key-v1\0');
const keyType = 'ssh-ed25519';
const begin = '-----BEGIN OPENSSH PRIVATE KEY-----';
const end = '-----END OPENSSH PRIVATE KEY-----';
/** As ssh-keygen wraps it. */
const lineLength = 70;
/** Padding goes up to the block size of the cipher; `none` counts as 8. */
const blockSize = 8;

function text(value: string | Uint8Array): Buffer {
  const bytes = Buffer.from(value as Uint8Array);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/** Makes an ed25519 key. The comment has no line break. */
export function generateKey(comment: string): KeyPair {
  const jwk = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' });
  const seed = Buffer.from(jwk.d!, 'base64url');
  const point = Buffer.from(jwk.x!, 'base64url');
  const blob = Buffer.concat([text(keyType), text(point)]);
  return { privateKey: armor(privateBlob({ seed, point, blob, comment })), publicKey: `${keyType} ${blob.toString('base64')} ${comment}` };
}

function privateBlob(key: { readonly seed: Buffer; readonly point: Buffer; readonly blob: Buffer; readonly comment: string }): Buffer {
  // Twice the same number: a reader sees by it whether it deciphered rightly.
  const check = randomBytes(4);
  const secret = Buffer.concat([check, check, text(keyType), text(key.point), text(Buffer.concat([key.seed, key.point])), text(key.comment)]);
  const padding = Buffer.from(Array.from({ length: (blockSize - (secret.length % blockSize)) % blockSize }, (_, i) => i + 1));
  const one = Buffer.from([0, 0, 0, 1]);
  return Buffer.concat([magic, text('none'), text('none'), text(''), one, text(key.blob), text(Buffer.concat([secret, padding]))]);
}

function armor(blob: Buffer): string {
  const lines = blob.toString('base64').match(new RegExp(`.{1,${lineLength}}`, 'g')) ?? [];
  return [begin, ...lines, end, ''].join('\n');
}

/** Takes length-prefixed strings from a buffer; `undefined` once one does not fit. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }
  number(): number | undefined {
    if (this.#at + 4 > this.#bytes.length) return undefined;
    this.#at += 4;
    return this.#bytes.readUInt32BE(this.#at - 4);
  }
  string(): Buffer | undefined {
    const length = this.number();
    if (length === undefined || this.#at + length > this.#bytes.length) return undefined;
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
}

/**
 * The public key in an OpenSSH private key of any type, encrypted or not, as `type base64`; the comment too where it can be read.
 * `undefined`: the text is something else.
 */
export function publicKeyOf(privateKey: string): string | undefined {
  const lines = privateKey.trim().split(/\r?\n/);
  if (lines[0] !== begin || lines.at(-1) !== end) return undefined;
  const blob = Buffer.from(lines.slice(1, -1).join(''), 'base64');
  if (!blob.subarray(0, magic.length).equals(magic)) return undefined;
  const reader = new Reader(blob.subarray(magic.length));
  const cipher = reader.string();
  reader.string();
  reader.string();
  if (reader.number() !== 1) return undefined;
  const key = reader.string();
  const type = key && new Reader(key).string()?.toString('latin1');
  const secret = reader.string();
  if (key === undefined || secret === undefined || type === undefined || !/^[a-z0-9@.-]+$/.test(type)) return undefined;
  const comment = type === keyType && cipher?.toString('latin1') === 'none' ? commentOf(secret) : undefined;
  return [type, key.toString('base64'), ...(comment ? [comment] : [])].join(' ');
}

/** Of an unencrypted ed25519 key. */
function commentOf(secret: Buffer): string | undefined {
  const reader = new Reader(secret);
  reader.number();
  reader.number();
  for (let i = 0; i < 3; i++) reader.string();
  const comment = reader.string()?.toString('utf8');
  return comment !== undefined && /^[^\p{Cc}]+$/u.test(comment) ? comment : undefined;
}

export interface PublicKeyLine { readonly type: string; readonly base64: string; readonly comment: string }

/** Reads `type base64 [comment]`; `undefined` when the line is something else, such as a key with options. */
export function parsePublicKey(line: string): PublicKeyLine | undefined {
  const match = /^([a-z0-9@.-]+)[ \t]+([A-Za-z0-9+/]+={0,2})(?:[ \t]+(.*))?$/.exec(line.trim());
  if (match === null) return undefined;
  const [, type, base64, comment = ''] = match as unknown as [string, string, string, string?];
  const named = new Reader(Buffer.from(base64, 'base64')).string()?.toString('latin1');
  return named === type ? { type, base64, comment } : undefined;
}
