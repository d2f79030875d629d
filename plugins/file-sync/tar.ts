// Writes the tar stream that the guest unpacks: POSIX pax, regular files and directories, all of it root's.

export interface TarEntry {
  /** Relative, no slash at either end. */
  readonly path: string;
  readonly type: 'file' | 'directory';
  /** Permission bits. */
  readonly mode: number;
  readonly mtimeSeconds: number;
}

const blockBytes = 512;
const nameBytes = 100;
/** What eleven octal digits hold. */
const maxOctal = 8 ** 11 - 1;
const padding = (size: number): Buffer => Buffer.alloc((blockBytes - (size % blockBytes)) % blockBytes);

/** A stream's end. */
export const tarEnd: Buffer = Buffer.alloc(2 * blockBytes);

/** Header blocks of an entry and, for a file, its padded content. */
export function tarEntry(entry: TarEntry, content: Uint8Array = Buffer.alloc(0)): Buffer {
  const name = entry.type === 'directory' ? `${entry.path}/` : entry.path;
  const fits = /^[\u0020-\u007e]*$/.test(name) && name.length <= nameBytes;
  const header = headerBlock({ name: fits ? name : 'long-name', type: entry.type === 'directory' ? '5' : '0', mode: entry.mode, size: content.length, mtime: entry.mtimeSeconds });
  return Buffer.concat([...(fits ? [] : paxHeader('path', name)), header, content, padding(content.length)]);
}

/** An extended header: one record `<length> <key>=<value>\n`, whose length counts its own digits. */
function paxHeader(key: string, value: string): Buffer[] {
  const rest = Buffer.from(` ${key}=${value}\n`);
  let length = rest.length + 1;
  while (length !== rest.length + String(length).length) length = rest.length + String(length).length;
  const record = Buffer.concat([Buffer.from(String(length)), rest]);
  return [headerBlock({ name: 'pax-header', type: 'x', mode: 0o600, size: record.length, mtime: 0 }), record, padding(record.length)];
}

interface Header { readonly name: string; readonly type: string; readonly mode: number; readonly size: number; readonly mtime: number }

function headerBlock({ name, type, mode, size, mtime }: Header): Buffer {
  const block = Buffer.alloc(blockBytes);
  const octal = (value: number, at: number, digits: number): void => void block.write(value.toString(8).padStart(digits, '0'), at, 'latin1');
  block.write(name, 0, nameBytes, 'latin1');
  octal(mode & 0o777, 100, 7);
  octal(0, 108, 7);
  octal(0, 116, 7);
  octal(size, 124, 11);
  octal(Math.min(maxOctal, Math.max(0, Math.floor(mtime))), 136, 11);
  block.write(type, 156, 'latin1');
  block.write('ustar\u000000', 257, 'latin1');
  // The sum is over the block with blanks in its place.
  block.fill(' ', 148, 156);
  octal(block.reduce((sum, byte) => sum + byte, 0), 148, 6);
  block.write('\u0000 ', 154, 'latin1');
  return block;
}
