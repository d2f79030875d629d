// RFC 4252 with one method, publickey: what the server says to each request. Keys are held by the hash of their blob.
import { createHash, timingSafeEqual } from 'node:crypto';
import type { Ssh2AuthKey, Ssh2Key } from './ssh2-protocol.ts';

export interface AuthOptions {
  /** Lines of `authorized_keys`. */
  readonly authorizedKeys: readonly string[];
  readonly maxTries: number;
  /** A line of a public key file. @throws Error when it is no key. */
  readonly parseKey: (line: string) => Ssh2Key;
}
export interface AuthRequest {
  readonly user: string;
  readonly service: string;
  readonly method: string;
  readonly data: unknown;
}
export type AuthAnswer =
  | { readonly kind: 'accepted'; readonly user: string }
  /** The key would do: sign with it. */
  | { readonly kind: 'sign'; readonly algorithm: string; readonly key: Buffer }
  | { readonly kind: 'refused' }
  /** Close the connection. */
  | { readonly kind: 'over'; readonly text: string };

export interface Authenticator { answer(request: AuthRequest): AuthAnswer }

/** RFC 8332 and RFC 8709; ssh-rsa without a hash would be SHA-1. */
const plainTypes = new Set(['ssh-ed25519', 'ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp384', 'ecdsa-sha2-nistp521']);
const rsaHashes = new Set(['sha256', 'sha512']);

/** What useradd(8) and container images use for names. */
export function isUserName(name: string): boolean {
  return /^[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?$/.test(name);
}

export function createAuthenticator({ authorizedKeys, maxTries, parseKey }: AuthOptions): Authenticator {
  const known = authorizedKeys.map(keyBlob).filter((blob) => blob !== undefined).map(digest);
  let failures = 0;
  let asked = false;
  let user: string | undefined;

  const refuse = (): AuthAnswer => {
    failures += 1;
    return failures >= maxTries ? { kind: 'over', text: 'Too many authentication failures' } : { kind: 'refused' };
  };
  const isKnown = (blob: Buffer): boolean => {
    const wanted = digest(blob);
    // All are compared, so that the time tells nothing of which.
    return known.reduce((found, one) => timingSafeEqual(one, wanted) || found, false);
  };
  const byKey = (name: string, key: Ssh2AuthKey): AuthAnswer => {
    const isModern = key.keyAlgo === 'ssh-rsa' ? rsaHashes.has(key.hashAlgo ?? '') : plainTypes.has(key.keyAlgo);
    if (!isModern || !isUserName(name) || !isKnown(key.key)) return refuse();
    if (key.signature === undefined || key.blob === undefined) return { kind: 'sign', algorithm: key.keyAlgo, key: key.key };
    return isSigned(key, parseKey) ? { kind: 'accepted', user: name } : refuse();
  };

  return {
    answer({ user: name, service, method, data }) {
      if (service !== 'ssh-connection') return { kind: 'over', text: 'No such service' };
      if (user !== undefined && user !== name) return { kind: 'over', text: 'The user name changed' };
      user = name;
      if (method === 'publickey') return byKey(name, data as Ssh2AuthKey);
      // The first `none` asks what there is.
      const isQuestion = method === 'none' && !asked;
      asked = true;
      return isQuestion ? { kind: 'refused' } : refuse();
    },
  };
}

function isSigned(key: Ssh2AuthKey, parseKey: AuthOptions['parseKey']): boolean {
  if (key.signature === undefined || key.blob === undefined) return false;
  try {
    const parsed = parseKey(`${key.keyAlgo} ${key.key.toString('base64')}`);
    return parsed.type === key.keyAlgo && parsed.verify(key.blob, key.signature, key.hashAlgo) === true;
  } catch {
    // A known blob is a key; if it cannot be read it cannot have signed.
    return false;
  }
}

/** The key of a line: it may begin with options and end with a comment. */
function keyBlob(line: string): Buffer | undefined {
  const words = line.trim().split(/\s+/);
  const at = words.findIndex((word) => plainTypes.has(word) || word === 'ssh-rsa');
  const text = words[at + 1];
  return at < 0 || text === undefined || line.trimStart().startsWith('#') ? undefined : Buffer.from(text, 'base64');
}

function digest(blob: Buffer): Buffer {
  return createHash('sha256').update(blob).digest();
}
