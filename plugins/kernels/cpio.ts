// Writer of the "newc" cpio format that the kernel unpacks as its initramfs.
// Source: Linux Documentation/driver-api/early-userspace/buffer-format.rst.

/** One entry. Paths are relative to the root, without a leading slash; directories come before what is in them. */
export type CpioEntry =
  | { readonly kind: 'directory'; readonly path: string; readonly mode: number }
  | { readonly kind: 'file'; readonly path: string; readonly mode: number; readonly content: Uint8Array | string }
  | { readonly kind: 'symlink'; readonly path: string; readonly target: string }
  | { readonly kind: 'character-device'; readonly path: string; readonly mode: number; readonly major: number; readonly minor: number };

const typeBits = { directory: 0o040000, file: 0o100000, symlink: 0o120000, 'character-device': 0o020000 } as const;
const trailer = 'TRAILER!!!';
const maxFileBytes = 0xffff_ffff;

/**
 * Writes one archive, its length a multiple of 4 so that another archive may follow it directly. Every entry belongs to root and
 * has time 0: the same entries give the same bytes.
 * @throws RangeError on a path that is absolute, empty or leaves the root, or a file of 4 GiB or more
 */
export function writeCpio(entries: readonly CpioEntry[]): Buffer {
  const parts = entries.flatMap((entry, index) => writeEntry(entry, index + 1));
  parts.push(...member({ path: trailer, mode: 0, inode: 0, links: 1, content: empty }));
  return Buffer.concat(parts);
}

const empty = Buffer.alloc(0);

function writeEntry(entry: CpioEntry, inode: number): Buffer[] {
  requireInside(entry.path);
  const content = entry.kind === 'file' ? Buffer.from(entry.content as Uint8Array)
    : entry.kind === 'symlink' ? Buffer.from(entry.target) : empty;
  const permissions = entry.kind === 'symlink' ? 0o777 : entry.mode & 0o7777;
  return member({
    path: entry.path, mode: typeBits[entry.kind] | permissions, inode, links: entry.kind === 'directory' ? 2 : 1, content,
    ...(entry.kind === 'character-device' ? { major: entry.major, minor: entry.minor } : {}),
  });
}

function requireInside(path: string): void {
  const parts = path.split('/');
  if (path === trailer || path.includes('\0') || parts.some((part) => part === '' || part === '.' || part === '..')) {
    throw new RangeError(`Not a path inside an archive: ${JSON.stringify(path)}`);
  }
}

interface Member {
  readonly path: string; readonly mode: number; readonly inode: number; readonly links: number; readonly content: Buffer;
  readonly major?: number; readonly minor?: number;
}

/** Magic and thirteen fields of eight hexadecimal digits, the name with its zero, then the data, each part padded to 4 bytes. */
function member(m: Member): Buffer[] {
  if (m.content.length > maxFileBytes) throw new RangeError(`${m.path} is too large for this archive format`);
  const name = Buffer.from(`${m.path}\0`);
  const fields = [m.inode, m.mode, 0, 0, m.links, 0, m.content.length, 0, 0, m.major ?? 0, m.minor ?? 0, name.length, 0];
  const header = Buffer.from(`070701${fields.map((n) => n.toString(16).padStart(8, '0')).join('')}`, 'ascii');
  return [header, name, padding(header.length + name.length), m.content, padding(m.content.length)];
}

const padding = (length: number): Buffer => Buffer.alloc((4 - (length % 4)) % 4);
