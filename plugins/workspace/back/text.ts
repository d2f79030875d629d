// Bytes of a guest, shown to people.
import { fromBytes } from '../host/bytes.ts';

const hex = (code: number): string => `\\x${code.toString(16).padStart(2, '0')}`;
/** Control characters, and those that turn or hide the text around them. */
// oxlint-disable-next-line no-control-regex -- to escape them is the purpose
const unsafe = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/** A latin1 string as text that cannot act on a terminal: what is no UTF-8 and what is no character to see becomes `\xNN`. */
export function visible(bytes: string): string {
  const text = fromBytes(bytes) ?? bytes.replaceAll(/[\u0080-\u00ff]/g, (char) => hex(char.charCodeAt(0)));
  return text.replaceAll(unsafe, (char) => [...Buffer.from(char, 'utf8')].map(hex).join(''));
}

/** What git says of its failure, in one line: the last thing it calls an error, else its last line. `stderr`: ordinary string. */
export function lastWord(stderr: string): string {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '');
  const line = lines.findLast((each) => /^(error|fatal):/.test(each) && !/fsck error in pack/.test(each)) ?? lines.at(-1) ?? '';
  return visible(Buffer.from(line, 'utf8').toString('latin1')).slice(0, 300);
}
