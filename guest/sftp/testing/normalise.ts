// Makes replies of two servers comparable: what must differ is blanked, everything else stays as the bytes are.
import { TYPE } from './client.ts';

export interface World {
  /** The tree's path; both have the same length. */
  readonly root: string;
  /** The directory above it that is the tree's own, as long as the other's. */
  readonly base: string;
  /** Seconds since 1970: times from then on are the run's own and differ between the trees. */
  readonly since: number;
}

const LONG_NAME_DATE = 12;

class Reader {
  readonly bytes: Buffer;
  at = 0;

  constructor(bytes: Buffer) {
    this.bytes = Buffer.from(bytes);
  }

  u32(): number {
    this.at += 4;
    return this.bytes.readUInt32BE(this.at - 4);
  }

  string(): Buffer {
    const length = this.u32();
    this.at += length;
    if (this.at > this.bytes.length) throw new Error('a string reaches behind its packet');
    return this.bytes.subarray(this.at - length, this.at);
  }
}

const isRecent = (time: number, { since }: World): boolean => time >= since && time <= Date.now() / 1000 + 5;

/** Blanks the recent ones of both times; tells whether the modification time was one. */
function blankAttributes(reader: Reader, world: World): boolean {
  let recent = false;
  const flags = reader.u32();
  if (flags & 1) reader.at += 8;
  if (flags & 2) reader.at += 8;
  if (flags & 4) reader.at += 4;
  if (flags & 8)
    for (const which of ['atime', 'mtime']) {
      const is = isRecent(reader.u32(), world);
      if (is) reader.bytes.fill(0xff, reader.at - 4, reader.at);
      if (which === 'mtime') recent = is;
    }
  return recent;
}

function blankBase(bytes: Buffer, { base }: World): void {
  for (let at = bytes.indexOf(base); at >= 0; at = bytes.indexOf(base, at + 1)) bytes.fill('@', at, at + base.length);
}

/** The date is behind mode, links, user, group and size. */
function blankDate(longName: Buffer): void {
  const fields = /^(?:\S+ +){5}/.exec(longName.toString('latin1'));
  if (fields) longName.fill('~', fields[0].length, fields[0].length + LONG_NAME_DATE);
}

/** Entries of a NAME reply, each as its bytes. */
export function entriesOf(reply: Buffer, world: World): Buffer[] {
  const reader = new Reader(reply);
  reader.at = 5;
  const entries: Buffer[] = [];
  for (let left = reader.u32(); left > 0; left--) {
    const start = reader.at;
    blankBase(reader.string(), world);
    const longName = reader.string();
    blankBase(longName, world);
    if (blankAttributes(reader, world)) blankDate(longName);
    entries.push(reader.bytes.subarray(start, reader.at));
  }
  if (reader.at !== reply.length) throw new Error('bytes behind the last entry');
  return entries;
}

/** The reply with everything blanked that two servers on two trees cannot have in common. */
export function normalised(reply: Buffer, world: World, isStatvfs: boolean): Buffer {
  const type = reply[0];
  if (type === TYPE.name) return Buffer.concat([reply.subarray(0, 9), ...entriesOf(reply, world)]);
  const reader = new Reader(reply);
  reader.at = 5;
  if (type === TYPE.attrs) blankAttributes(reader, world);
  // Free blocks, free blocks for users, inodes, free inodes, free inodes for users: other processes change them meanwhile.
  if (type === TYPE.extendedReply && isStatvfs) for (const field of [3, 4, 5, 6, 7]) reader.bytes.fill(0, 5 + 8 * field, 13 + 8 * field);
  return reader.bytes;
}
