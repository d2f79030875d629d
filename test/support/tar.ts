// Tar streams that no tar makes: ustar headers field by field.

export interface TarEntry {
  readonly name: string;
  readonly content?: string;
  /** ustar's: 0 file, 1 hard link, 2 symlink, 3 and 4 devices, 5 directory, 6 fifo. @default 0 */
  readonly type?: string;
  readonly link?: string;
  readonly mode?: number;
  /** What the header says in place of the content's length. */
  readonly size?: number;
  /** The checksum is wrong. */
  readonly corrupt?: boolean;
}

const block = 512;

/** `end`: with the two zero blocks. @default true */
export function makeTar(entries: readonly TarEntry[], options: { readonly end?: boolean } = {}): Buffer {
  const parts = entries.flatMap((entry) => {
    const content = Buffer.from(entry.content ?? '');
    return [header(entry, content.length), content, Buffer.alloc((block - (content.length % block)) % block)];
  });
  return Buffer.concat([...parts, Buffer.alloc(options.end === false ? 0 : 2 * block)]);
}

function header(entry: TarEntry, length: number): Buffer {
  const head = Buffer.alloc(block);
  const number = (value: number, at: number, digits: number): void => { head.write(`${value.toString(8).padStart(digits, '0')}\0`, at, 'latin1'); };
  head.write(entry.name, 0, 100);
  number(entry.mode ?? (entry.type === '5' ? 0o755 : 0o644), 100, 7);
  number(0, 108, 7);
  number(0, 116, 7);
  number(entry.size ?? length, 124, 11);
  number(1_700_000_000, 136, 11);
  head.write(entry.type ?? '0', 156, 1);
  head.write(entry.link ?? '', 157, 100);
  head.write('ustar\u000000', 257, 'latin1');
  number(8, 329, 7);
  number(0, 337, 7);
  head.fill(' ', 148, 156);
  const sum = head.reduce((total, byte) => total + byte, entry.corrupt === true ? 1 : 0);
  head.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return head;
}
