// `op-` and 8 characters of base32: 40 random bits, easy to read aloud, and cheap enough for every ping.
import { randomFillSync } from 'node:crypto';

const alphabet = 'abcdefghijklmnopqrstuvwxyz234567';
const length = 8;
const pool = Buffer.alloc(length * 512);
let used = pool.length;

export function createCallId(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  let id = 'op-';
  for (const end = used + length; used < end; used += 1) id += alphabet[(pool[used] as number) & 31];
  return id;
}
