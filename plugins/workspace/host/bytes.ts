// Names in a repository are bytes. Here they are latin1 strings, a character a byte, so that sorting and comparing them is git's own order.
// Absolute paths of the host (a repository's root, our own directories) are ordinary strings: Node hands arguments, environment and
// working directories to programs as UTF-8, so a root that is not UTF-8 cannot be used and is refused.

/** The bytes of `<root>/<path>` for node:fs. `root`: ordinary string; `path`: latin1. */
export function onDisk(root: string, path: string): Buffer {
  return Buffer.concat([Buffer.from(root.endsWith('/') ? root : `${root}/`, 'utf8'), Buffer.from(path, 'latin1')]);
}

/** latin1 text for an ordinary string. */
export function toBytes(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The ordinary string that a latin1 string's bytes are; undefined when they are not UTF-8. */
export function fromBytes(bytes: string): string | undefined {
  try {
    return strict.decode(Buffer.from(bytes, 'latin1'));
  } catch {
    // Not UTF-8: the caller decides what that means.
    return undefined;
  }
}

/** The entries of `-z` output: each is ended by a NUL. */
export function* splitNul(text: string): Generator<string> {
  let start = 0;
  for (let end = text.indexOf('\0'); end >= 0; end = text.indexOf('\0', start)) {
    yield text.slice(start, end);
    start = end + 1;
  }
}
