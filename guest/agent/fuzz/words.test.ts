// What the splitter for guests without a shell makes of a line, against what a real shell makes of it.
import { execFile, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, expect, it } from 'vitest';

const root = new URL('../../..', import.meta.url).pathname;
beforeAll(async () => {
  await promisify(execFile)('sh', [join(root, 'scripts/build-native.sh'), '--asan'], { cwd: root });
});

type Split = readonly string[] | { readonly needs: string };

function output(program: string, args: readonly string[], input: string): string {
  const { stdout, stderr, status } = spawnSync(program, args, { input, maxBuffer: 1 << 26 });
  expect([stderr.toString(), status]).toEqual(['', 0]);
  return stdout.toString();
}
const records = (text: string): string[] => text.split('\x1E').slice(0, -1);
const words = (record: string): string[] => record.split('\x1F').slice(0, -1);

function split(lines: readonly string[]): Split[] {
  const text = output(join(root, 'dist/native/agent-fuzz'), ['split'], lines.map((line) => `${line}\0`).join(''));
  return records(text).map((record) => (record.startsWith('!') ? { needs: record.slice(1) } : words(record)));
}

const simple: [string, readonly string[]][] = [
  ['', []],
  [' \t ', []],
  ['a  b\tc ', ['a', 'b', 'c']],
  ['ls -l /tmp\n\n', ['ls', '-l', '/tmp']],
  [`'a b' "c d" e\\ f`, ['a b', 'c d', 'e f']],
  [`'' ""`, ['', '']],
  [`a'b'"c"d`, ['abcd']],
  [`'$HOME \`id\` "q" \\'`, ['$HOME `id` "q" \\']],
  [`"\\$HOME \\\` \\" \\\\ \\n 'q' * ; #"`, ['$HOME ` " \\ \\n \'q\' * ; #']],
  ['\\$HOME \\* \\; \\# \\~ \\"', ['$HOME', '*', ';', '#', '~', '"']],
  ['a\\\nb c \\\n d "e\\\nf"', ['ab', 'c', 'd', 'ef']],
  ['a~ b#c user@host:~/x', ['a~', 'b#c', 'user@host:~/x']],
  ['env A=b c=d', ['env', 'A=b', 'c=d']],
  ['"two\nlines"', ['two\nlines']],
  [`"A"=b`, ['A=b']],
];
it('splits lines of words, quotes and backslashes', () => {
  const lines = simple.map(([line]) => line);
  expect(split(lines).map((found, i) => [lines[i], found])).toEqual(simple);
});

const special: [string, string][] = [
  ['echo $HOME', '"$"'], ['echo "$HOME"', '"$"'], ['echo `id`', '"`"'], ['echo "`id`"', '"`"'], ['a; b', '";"'], ['a | b', '"|"'], ['a & b', '"&"'],
  ['a < b', '"<"'], ['a > b', '">"'], ['(a)', '"("'], ['ls *', '"*"'], ['ls a?', '"?"'], ['ls [a]', '"["'], ['ls ~', '"~"'], ['a # b', '"#"'],
  ['a\nb', 'several lines'], [`a 'b`, 'a quote without an end'], ['a "b', 'a quote without an end'], ['a "b\\"', 'a quote without an end'],
  ['A=b c', 'a variable'], ['  _a1= c', 'a variable'],
];
it('leaves everything else to a shell, and says what', () => {
  const lines = special.map(([line]) => line);
  expect(split(lines).map((found, i) => [lines[i], found])).toEqual(special.map(([line, needs]) => [line, { needs }]));
});

it('makes of what it accepts the words that a shell makes', () => {
  const letters = [`'`, `"`, '\\', ' ', ' ', '\t', '\n', '$', '`', '*', ';', '~', '#', '=', 'a', 'b', 'c', 'ü'];
  // A small generator with a seed of its own: the same lines in each run.
  let state = 7;
  const below = (limit: number): number => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor(state / 65_536) % limit;
  };
  const lines = Array.from({ length: 20_000 }, () => `x${Array.from({ length: below(14) }, () => letters[below(letters.length)]).join('')}`);
  const mine = split(lines);
  const accepted = lines.filter((_, i) => Array.isArray(mine[i]));
  expect(accepted.length).toBeGreaterThan(2000);
  const script = accepted.map((line) => `eval 'set -- ${line.replaceAll(`'`, `'\\''`)}'\nfor w; do printf '%s\\037' "$w"; done; printf '\\036'\n`).join('');
  expect(mine.filter(Array.isArray)).toEqual(records(output('sh', [], script)).map(words));
});
