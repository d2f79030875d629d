// Random git repositories and random edits, the same for the same seed. An edit is a line of a POSIX sh script, so that a host and a guest are
// edited in the same way. Paths and contents are latin1 strings: a character a byte.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { random as seeded } from '../../native/copy/testing.ts';
import { gitEnvironment, octal, scriptHead } from './repo-script.ts';

/** A whole number from 0 to `below` - 1. */
export type Random = (below: number) => number;
export interface EditOptions {
  /** Edits of the index, too. */
  readonly stage: boolean;
  /** Commits, branches, a detached HEAD. */
  readonly commit: boolean;
  /** @default 3 to 10 */
  readonly count?: number;
}

const plain = ['a', 'b', 'src', 'lib', 'README', 'main.c', 'x.txt', '.hidden', 'Makefile', 'out.o', 'debug.log', 'build'];
const odd = [
  'with space', ' lead', 'trail ', "quo'te", 'dou"ble', 'new\nline', 'ends\n', '\n', 'tab\there', '\xff\xfe bad', '\xc3\xa9t\xc3\xa9', '\x81\x82\x84\x88', '\x01\x7f', '-n', '--', 'back\\slash',
  '\\056', '$(touch x)', '`id`', '*', '?', '[a]', ':colon', ':(top)', '!bang', '#hash', '~', '%s%n', 'a.', 'CON', 'HEAD', 'x'.repeat(200),
];
const contents = ['', 'x', 'one\ntwo\nthree\n', 'no newline at the end', 'crlf\r\nlines\r\n', '\x00\x01\x02binary\xff', 'caf\xc3\xa9\n', '\\n %s $HOME `id`\n'];
const ignores = ['*.o\n', '/build/\n', '*.log\n!debug.log\n', 'out.*\n', '.hidden\n', '# nothing\n'];
const targets = ['a', '../b', 'src/', '/etc/passwd', 'nowhere', '.', '\xff\n', "it's"];

const pick = <T>(random: Random, from: readonly T[]): T => from[random(from.length)]!;
const weighted = <T>(random: Random, of: readonly (readonly [number, T])[]): T => {
  let left = random(of.reduce((sum, [weight]) => sum + weight, 0));
  return of.find(([weight]) => (left -= weight) < 0)![1];
};

function newPath(random: Random): string {
  const depth = weighted(random, [[4, 1], [4, 2], [2, 3], [1, 5]]);
  return Array.from({ length: depth }, () => pick(random, random(3) === 0 ? odd : plain)).join('/');
}
const newContent = (random: Random): string => pick(random, contents) + (random(2) === 0 ? `${random(1_000_000)}\n`.repeat(1 + random(40)) : '');

/** Makes lines of script, and keeps count of the files that they leave. */
class Editor {
  readonly lines: string[] = [];
  readonly #random: Random;
  readonly #paths: Set<string>;
  #time: number;

  constructor(random: Random, paths: Iterable<string>) {
    this.#random = random;
    this.#paths = new Set(paths);
    this.#time = 1_700_000_000 + random(1_000_000);
  }

  #say(command: string, ...words: readonly string[]): void {
    this.lines.push([command, ...words.map((word) => `'${octal(word)}'`)].join(' '));
  }
  #any(): string {
    return this.#paths.size === 0 ? newPath(this.#random) : pick(this.#random, [...this.#paths]);
  }
  /** A directory that holds a file, or a path that is none. */
  #anyDirectory(): string {
    const deep = [...this.#paths].filter((path) => path.includes('/'));
    return deep.length === 0 ? this.#any() : pick(this.#random, deep).split('/').slice(0, -1).join('/');
  }
  #drop(path: string): void {
    for (const known of this.#paths) if (known === path || known.startsWith(`${path}/`)) this.#paths.delete(known);
  }
  #take(path: string): void {
    this.#drop(path);
    for (const known of this.#paths) if (path.startsWith(`${known}/`)) this.#paths.delete(known);
    this.#paths.add(path);
  }
  #put(path: string, content = newContent(this.#random)): void {
    this.#take(path);
    this.#say('put', path, content);
  }
  #link(path: string): void {
    this.#take(path);
    this.#say('link', path, pick(this.#random, targets));
  }
  #move(from: string, to: string): void {
    if (from === to || to.startsWith(`${from}/`) || from.startsWith(`${to}/`)) return this.#put(to);
    const moved = [...this.#paths].filter((path) => path === from || path.startsWith(`${from}/`));
    this.#drop(from);
    this.#take(to);
    this.#paths.delete(to);
    for (const path of moved) this.#paths.add(to + path.slice(from.length));
    this.#say('move', from, to);
  }

  write(): void {
    this.#put(newPath(this.#random));
  }
  ignore(): void {
    const level = this.#random(2) === 0 ? '' : `${this.#anyDirectory()}/`;
    this.#put(`${level}.gitignore`, pick(this.#random, ignores));
  }

  /** One change of the working files. */
  work(): void {
    const random = this.#random;
    weighted(random, [
      [4, () => this.write()],
      [3, () => this.#put(this.#any())],
      [2, () => this.#say('append', this.#any(), newContent(random))],
      [2, () => this.#say('flip', this.#any(), pick(random, ['A', 'B', 'z']))],
      [1, () => this.#put(this.#any(), '')],
      [1, () => this.#say('fill', this.#any(), String(10_000 + random(90_000)))],
      [2, () => this.#remove(this.#any())],
      [1, () => this.#remove(this.#anyDirectory())],
      [2, () => this.#say(random(2) === 0 ? 'mode +x' : 'mode -x', this.#any())],
      [1, () => this.#say('again', this.#any())],
      [2, () => this.#link(random(2) === 0 ? newPath(random) : this.#any())],
      [1, () => this.#link(this.#anyDirectory())],
      [1, () => this.#put(`${this.#any()}/${pick(random, plain)}`)],
      [1, () => this.#put(this.#anyDirectory())],
      [2, () => this.#move(this.#any(), newPath(random))],
      [1, () => this.#move(this.#anyDirectory(), newPath(random))],
      [1, () => this.ignore()],
    ])();
  }
  #remove(path: string): void {
    this.#drop(path);
    this.#say('remove', path);
  }

  /** One change of the index. */
  stage(): void {
    const random = this.#random;
    weighted(random, [
      [4, () => this.#say('stage', this.#any())],
      [2, () => this.#say('stage', this.#anyDirectory())],
      [1, () => this.#say('stage', this.#any(), '-f')],
      [1, () => this.#say('stage', this.#intent(), '-N')],
      [1, () => this.#say('unstage', this.#any())],
      [1, () => this.stageAll()],
    ])();
  }
  stageAll(): void {
    this.lines.push('git add -A');
  }
  /** A new file that no index has. */
  #intent(): string {
    const path = `new/${this.#random(1000)}`;
    this.#put(path);
    return path;
  }

  commit(): void {
    this.#time += 1 + this.#random(5000);
    this.lines.push(`commit ${this.#time}`);
  }
  history(): void {
    const random = this.#random;
    weighted(random, [
      [5, () => this.commit()],
      [1, () => this.lines.push(`git checkout -q -b ${pick(random, ['topic', 'feature/x', 'wip'])}-${random(100)}`)],
      [1, () => this.lines.push('quietly git checkout -q --detach')],
      [1, () => this.lines.push('quietly git reset -q HEAD~1')],
      [1, () => this.lines.push(`quietly git tag t${random(1000)}`)],
    ])();
  }
  /** A branch with a commit of its own, merged: the commit after has two parents. */
  merged(name: string): void {
    this.lines.push(`quietly git checkout -q -b ${name} HEAD~1`);
    this.commit();
    this.lines.push('quietly git checkout -q -');
    this.#time += 1;
    this.lines.push(`dated ${this.#time} git merge -q --no-edit -s ours ${name}`);
  }
}

function edit(editor: Editor, random: Random, options: EditOptions): void {
  const count = options.count ?? 3 + random(8);
  // The others may find nothing to do.
  if (count > 0) editor.write();
  for (let n = 1; n < count; n += 1) {
    const kind = random(10);
    if (options.commit && kind === 0) editor.history();
    else if (options.stage && kind < 4) editor.stage();
    else editor.work();
  }
}

const run = (dir: string, lines: readonly string[]): void => {
  execFileSync('sh', ['-s'], { cwd: dir, input: Buffer.from(scriptHead + wrapped(lines), 'latin1'), env: gitEnvironment(), stdio: ['pipe', 'ignore', 'pipe'] });
};
/** Read whole before it runs, with nothing on its input. */
const wrapped = (lines: readonly string[]): string => `main() {\n${lines.join('\n')}\n}\nmain </dev/null\n`;

/** Commits, and at times what is neither committed nor staged yet. */
function historyLines(editor: Editor, random: Random): void {
  const commits = weighted(random, [[1, 0], [6, 1 + random(5)], [2, 13]]);
  for (let n = 0; n < commits; n += 1) {
    edit(editor, random, { stage: false, commit: false, count: 1 + random(n === 0 ? 12 : 3) });
    editor.stageAll();
    editor.commit();
    if (n > 0 && random(4) === 0) editor.merged(`side-${n}`);
    if (random(6) === 0) editor.lines.push(`quietly git tag ${random(2) === 0 ? '-a -m tagged ' : ''}v${n}`);
    if (random(8) === 0) editor.lines.push(`git branch -f other-${random(3)}`);
  }
}

/**
 * Makes a repository in `dir`, which is made: some commits (none at times: an unborn branch), branches, tags, a HEAD that may be detached,
 * and changes that are staged, not staged, untracked and ignored.
 */
export function makeRandomRepo(dir: string, seed: number): void {
  const random = seeded(seed);
  mkdirSync(dir, { recursive: true });
  const editor = new Editor(random, []);
  editor.lines.push(`git init -q -b ${pick(random, ['main', 'main', 'trunk', 'feature/deep/er'])}`);
  if (random(3) !== 0) editor.lines.push('git config user.name "Somebody Else"', 'git config user.email somebody@example.org');
  if (random(3) === 0) editor.lines.push('git remote add origin https://me:secret@example.org/some/repo.git');
  editor.ignore();
  for (let n = 3 + random(12); n > 0; n -= 1) editor.write();
  historyLines(editor, random);
  edit(editor, random, { stage: true, commit: false, count: random(14) });
  if (random(6) === 0) editor.lines.push('quietly git checkout -q --detach');
  run(dir, editor.lines);
}

/** Paths of files and links in the working tree, `.git` left out; sorted. */
export function workingPaths(dir: string): string[] {
  const paths = (below: string): string[] => readdirSync(Buffer.from(join(dir, below), 'latin1'), { withFileTypes: true, encoding: 'buffer' }).flatMap((entry) => {
    const path = `${below}${entry.name.toString('latin1')}`;
    if (path === '.git') return [];
    return entry.isDirectory() ? paths(`${path}/`) : [path];
  });
  return paths('').toSorted();
}

/** Edits a repository of the host with real git and files. */
export function randomEdits(dir: string, random: Random, options: EditOptions): void {
  const editor = new Editor(random, workingPaths(dir));
  edit(editor, random, options);
  run(dir, editor.lines);
}

/** The same kinds of edits as a script for `sh -s` in a guest; `dir` is the repository there, `paths` are files that it has (others do not hurt). */
export function randomEditScript(random: Random, dir: string, options: EditOptions & { readonly paths: readonly string[] }): Buffer {
  const editor = new Editor(random, options.paths);
  edit(editor, random, options);
  return Buffer.from(`${scriptHead}inside '${octal(dir)}'\n${wrapped(editor.lines)}`, 'latin1');
}
