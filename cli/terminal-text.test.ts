import { describe, expect, test } from 'vitest';
import { TerminalText } from './terminal-text.ts';

const all = (text: string | Buffer): string => {
  const filter = new TerminalText();
  return filter.write(Buffer.from(text as string)) + filter.end();
};
const bytewise = (text: string | Buffer): string => {
  const filter = new TerminalText();
  return [...Buffer.from(text as string)].map((byte) => filter.write(Buffer.from([byte]))).join('') + filter.end();
};

const table: readonly (readonly [string, string | Buffer, string])[] = [
  ['text, tabs and newlines stay', 'a\tb\nc ä€😀\n', 'a\tb\nc ä€😀\n'],
  ['colours stay and are given back at the end', '\x1b[1;31mred\x1b[0m\n', '\x1b[1;31mred\x1b[0m\n\x1b[0m'],
  ['serial line ends become plain ones', 'a\r\nb\r\r\nc\r\n', 'a\nb\nc\n'],
  ['a return does not write over the line', 'secret\rpublic\n\rnext\n', 'secret\npublic\nnext\n'],
  ['the screen is neither cleared nor scrolled, the cursor not moved', '\x1b[2J\x1b[H\x1b[1Aup\x1b[10Cx\x1b[?25l\x1b[?1049h\x1b[4 q', 'upx'],
  ['the terminal is not asked for answers', '\x1b[6n\x1b[c\x1b[>c\x1bZ\x1b[5n.', '.'],
  ['titles, links and device strings vanish', 'a\x1b]0;owned\x07b\x1b]8;;http://x\x1b\\c\x1bPq#0\x1b\\d\x1b_x\x1b\\e', 'abcde'],
  ['a string without end does not swallow the rest', '\x1b]0;never\nstill here\n', ']0;never\nstill here\n'],
  ['character sets are not switched', '\x1b(0lqk\x1b(B\x0e\x0f\x1b%@', 'lqk'],
  ['a reset does not reach the terminal', '\x1bc\x1b7\x1b8\x1b=x', 'x'],
  ['backspace, bell and delete vanish', 'rm -rf\b\b\b\x07\x7f\0', 'rm -rf'],
  ['eight-bit controls vanish, as characters and as bytes', Buffer.from('a\u009b2Jb\u009d0;t\u009cc\u0085'), 'a2Jb0;tc'],
  ['bytes that are no UTF-8 are shown as such', Buffer.from([0x61, 0x9b, 0x32, 0x4a, 0xff]), 'a\ufffd2J\ufffd'],
  ['writing is not turned around', 'a\u202eb\u2066c', 'abc'],
  ['a colour with too many parts is none', `\x1b[${'1;'.repeat(40)}mx`, `[${'1;'.repeat(40)}mx`],
  ['an escape at the end goes', 'x\x1b', 'x'],
  ['escapes in a row leave no colour that was not there', '\x1b\x1b[2J\x1b[\x1b[31mx', '[\x1b[31mx\x1b[0m'],
];

describe('TerminalText', () => {
  test.each(table)('%s', (_name, from, to) => {
    expect(all(from)).toBe(to);
  });
  test.each(table)('%s, byte by byte', (_name, from, to) => {
    expect(bytewise(from)).toBe(to);
  });

  test('whatever comes, in whatever pieces, only colours have an escape', () => {
    let seed = 12_345;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return Math.floor(seed / 65_536) % below;
    };
    const alphabet = ['\x1b', '[', ']', 'm', '3', '1', ';', 'J', '\r', '\n', 'P', '\\', '\x07', 'a', '(', ' ', '\u009b', '?'];
    for (let round = 0; round < 3000; round += 1) {
      const filter = new TerminalText();
      let text = '';
      for (let piece = 0; piece < 6; piece += 1) text += filter.write(Buffer.from(Array.from({ length: random(8) }, () => alphabet[random(alphabet.length)]!).join('')));
      text += filter.end();
      // oxlint-disable-next-line no-control-regex -- control characters are the point
      expect(text.replaceAll(/\u001b\[[0-9;:]*m/g, '')).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/);
    }
  });
});
