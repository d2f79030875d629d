// Random identifiers. All are safe as file names, host object names and command line words.
import { randomBytes, randomFillSync } from 'node:crypto';

const base32 = 'abcdefghijklmnopqrstuvwxyz234567';
const opIdLength = 8;
const pool = Buffer.alloc(opIdLength * 512);
let used = pool.length;

/** `op-` and 8 characters of base32: 40 random bits, easy to read aloud, and cheap enough for every ping. */
export function createOpId(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  let id = 'op-';
  for (const end = used + opIdLength; used < end; used += 1) id += base32[(pool[used] as number) & 31];
  return id;
}

/** 12 lower-case hex digits. */
export const createVmId = (): string => randomBytes(6).toString('hex');
/** 12 lower-case hex digits, for a command that a guest keeps. */
export const createExecId = (): string => randomBytes(6).toString('hex');
/** 8 hex digits, one per state directory. */
export const createInstallId = (): string => randomBytes(4).toString('hex');

export const isVmId = (text: string): boolean => /^[0-9a-f]{12}$/.test(text);
export const isInstallId = (text: string): boolean => /^[0-9a-f]{8}$/.test(text);
