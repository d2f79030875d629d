// The `newc` cpio format of the kernel's initramfs (Linux Documentation/driver-api/early-userspace/buffer-format.rst).
// Same entries, same bytes: inode numbers count up and the time is 0.

/** One entry of an archive; paths have no leading slash, parents come before what they hold. */
export interface CpioEntry {
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
  readonly type: 'directory' | 'file' | 'symlink';
  /** Content of a file, target of a link. */
  readonly data?: Uint8Array | string;
}

const typeBits = { directory: 0o040000, file: 0o100000, symlink: 0o120000 } as const;
const nothing = Buffer.alloc(0);

const padded = (length: number): number => (length + 3) & ~3;

function hex8(value: number): string {
  return value.toString(16).toUpperCase().padStart(8, '0');
}

function header(fields: { readonly inode: number; readonly mode: number; readonly links: number; readonly size: number; readonly nameSize: number }): string {
  // magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
  const words = [fields.inode, fields.mode, 0, 0, fields.links, 0, fields.size, 0, 0, 0, 0, fields.nameSize, 0];
  return `070701${words.map(hex8).join('')}`;
}

function record(name: string, head: { readonly inode: number; readonly mode: number; readonly links: number }, data: Uint8Array): Buffer {
  const nameBytes = Buffer.from(`${name}\0`);
  const start = Buffer.from(header({ ...head, size: data.length, nameSize: nameBytes.length }), 'ascii');
  const dataAt = padded(start.length + nameBytes.length);
  const out = Buffer.alloc(dataAt + padded(data.length));
  start.copy(out);
  nameBytes.copy(out, start.length);
  out.set(data, dataAt);
  return out;
}

function requirePath(path: string): string {
  const parts = path.split('/');
  if (path.includes('\0') || parts.some((part) => part === '' || part === '.' || part === '..')) throw new RangeError(`Not a path for an archive: ${JSON.stringify(path)}`);
  return path;
}

/**
 * Writes a complete archive, trailer included. Its length is a multiple of 4, so that another archive may follow it.
 * @throws RangeError for a path that is absolute, empty or has `.` or `..` in it.
 */
export function writeCpio(entries: readonly CpioEntry[]): Buffer {
  const records = entries.map((entry, index) => {
    const data = typeof entry.data === 'string' ? Buffer.from(entry.data) : entry.data ?? nothing;
    const head = { inode: index + 1, mode: typeBits[entry.type] | (entry.mode & 0o7777), links: entry.type === 'directory' ? 2 : 1 };
    return record(requirePath(entry.path), head, data);
  });
  records.push(record('TRAILER!!!', { inode: 0, mode: 0, links: 1 }, nothing));
  return Buffer.concat(records);
}

/** Every directory above the given paths, each once and before what it holds. */
export function parentDirectories(paths: readonly string[]): CpioEntry[] {
  const found = new Set<string>();
  for (const path of paths) {
    const parts = path.split('/');
    for (let depth = 1; depth < parts.length; depth += 1) found.add(parts.slice(0, depth).join('/'));
  }
  return [...found].sort().map((path) => ({ path, mode: 0o755, type: 'directory' }));
}
