// Names as people see them: one line each, no control over the terminal, and no two names alike.

/** What would move the cursor, end a line, or turn the reading direction. */
const harmful = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\\]/u;
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A name for people. `path`: latin1, a character a byte. Control characters, backslashes and what is not UTF-8 become `\xNN`, a byte each. */
export function escapeName(path: string): string {
  if (/^[ -[\]-~]*$/.test(path)) return path;
  const bytes = Buffer.from(path, 'latin1');
  let text = '';
  for (let at = 0; at < bytes.length;) {
    const length = sequenceLength(bytes[at]!);
    const char = decode(bytes.subarray(at, at + length));
    const isShown = char !== undefined && !harmful.test(char);
    text += isShown ? char : hex(bytes.subarray(at, char === undefined ? at + 1 : at + length));
    at += char === undefined ? 1 : length;
  }
  return text;
}

const sequenceLength = (first: number): number => (first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4);
const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');

function decode(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    // Not UTF-8: shown byte by byte.
    return undefined;
  }
}
