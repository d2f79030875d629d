// What git says about bytes of a guest, shown to people.
import { toBytes } from '../host/bytes.ts';
import { escapeName } from '../host/escape.ts';

/** What git says of its failure, in one line that cannot act on a terminal: the last thing it calls an error, else its last line. */
export function lastWord(stderr: string): string {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '');
  const line = lines.findLast((each) => /^(error|fatal):/.test(each) && !/fsck error in pack/.test(each)) ?? lines.at(-1) ?? '';
  return escapeName(toBytes(line)).slice(0, 300);
}
