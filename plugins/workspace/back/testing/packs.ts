// Packs written by hand: what no git would make. Format: gitformat-pack(5).
import { createHash } from 'node:crypto';
import { deflateSync, createDeflate } from 'node:zlib';

export const types = { commit: 1, tree: 2, blob: 3, tag: 4, refDelta: 7 } as const;
export interface Entry { readonly type: keyof typeof types; readonly body: Buffer; /** What the header says. @default that of the body */ readonly size?: number; readonly base?: string; readonly packed?: Buffer }

export function objectId(type: string, body: Buffer): string {
  return createHash('sha1').update(`${type} ${body.length}\0`).update(body).digest('hex');
}

function header(type: number, size: number): Buffer {
  const bytes = [(type << 4) | (size % 16)];
  for (let rest = Math.floor(size / 16); rest > 0; rest = Math.floor(rest / 128)) {
    bytes[bytes.length - 1]! |= 0x80;
    bytes.push(rest % 128);
  }
  return Buffer.from(bytes);
}

export function makePack(entries: readonly Entry[], count = entries.length): Buffer {
  const start = Buffer.alloc(12);
  start.write('PACK');
  start.writeUInt32BE(2, 4);
  start.writeUInt32BE(count, 8);
  const parts = entries.flatMap(({ type, body, size, base, packed }) => [
    header(types[type], size ?? body.length), ...(base === undefined ? [] : [Buffer.from(base, 'hex')]), packed ?? deflateSync(body, { level: 1 }),
  ]);
  const all = Buffer.concat([start, ...parts]);
  return Buffer.concat([all, createHash('sha1').update(all).digest()]);
}

export type TreeEntry = readonly [mode: string, name: string, id: string];
/** A tree's body. Names are latin1. */
export function tree(...entries: readonly TreeEntry[]): Buffer {
  return Buffer.concat(entries.map(([mode, name, id]) => Buffer.concat([Buffer.from(`${mode} ${name}\0`, 'latin1'), Buffer.from(id, 'hex')])));
}

/** A delta that repeats the first `piece` bytes of a base of `baseSize` bytes, `times` over. */
export function repeatingDelta(baseSize: number, piece: number, times: number): Buffer {
  const copy = Buffer.from([0x80 | 0x70, piece & 0xff, (piece >> 8) & 0xff, piece >> 16]);
  return Buffer.concat([varint(baseSize), varint(piece * times), ...Array.from({ length: times }, () => copy)]);
}

function varint(value: number): Buffer {
  const bytes = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  return Buffer.from([...bytes, rest]);
}

/** A blob of zeros, deflated without ever being whole in memory, and its id. */
export async function zeros(size: number): Promise<{ readonly packed: Buffer; readonly id: string }> {
  const hash = createHash('sha1').update(`blob ${size}\0`);
  const deflate = createDeflate({ level: 1 });
  const out: Buffer[] = [];
  deflate.on('data', (chunk: Buffer) => out.push(chunk));
  const chunk = Buffer.alloc(1 << 20);
  for (let left = size; left > 0; left -= chunk.length) {
    const part = chunk.subarray(0, Math.min(left, chunk.length));
    hash.update(part);
    await new Promise<void>((resolve, reject) => deflate.write(part, (error) => (error ? reject(error) : resolve())));
  }
  await new Promise<void>((resolve) => {
    deflate.once('end', resolve);
    deflate.end();
  });
  return { packed: Buffer.concat(out), id: hash.digest('hex') };
}
