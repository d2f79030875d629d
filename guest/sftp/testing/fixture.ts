// A tree with one of everything, the same wherever it is made, and a description of what became of it.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync, chownSync, lchownSync, linkSync, lstatSync, lutimesSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, symlinkSync,
  truncateSync, writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { World } from './normalise.ts';
import { Random } from './random.ts';

export const ENTRIES_OF_BIG = 300;
export const LINKS_IN_CHAIN = 40;
export const LONG_NAME = 'n'.repeat(255);
/** Not UTF-8, with a newline. */
export const ODD_NAME = Buffer.from('odd \xff\xfe\n\x80name', 'latin1');
const OLD = 1_600_000_000;
const NOBODY = 65534;
const SPECIAL_MODES = ['4755', '2755', '1777', '4644', '2644', '1644', '000'];

/** A scratch directory others may look into; the trees lie some levels down, so that `..` in links stays below it. */
export function makeScratch(): { readonly dir: string; readonly trees: readonly [string, string]; remove: () => void } {
  const dir = mkdtempSync(join(tmpdir(), 'banger-sftp-'));
  chmodSync(dir, 0o755);
  const trees = ['a', 'b'].map((name) => join(dir, name, '1', '2', '3', 'tree')) as [string, string];
  for (const tree of trees) mkdirSync(tree, { recursive: true, mode: 0o755 });
  const remove = (): void => {
    // Directories without permissions stop their owner, too.
    if (process.getuid?.() !== 0) execFileSync('chmod', ['-R', 'u+rwX', dir]);
    rmSync(dir, { recursive: true, force: true });
  };
  return { dir, trees, remove };
}

function fill(tree: string): void {
  const random = new Random(7);
  const at = (...names: readonly string[]): string => join(tree, ...names);
  ['d0', 'd1', 'd2', 'd0/d1', 'big', 'chain', 'special', 'secret', 'readonly'].forEach((name) => mkdirSync(at(name)));
  [0, 10, 4096, 33_000, 300_000, 1].forEach((size, n) => writeFileSync(at(`f${n}`), random.bytes(size)));
  ['d0', 'd1', 'd2', 'd0/d1', 'secret', 'readonly'].forEach((dir) => ['f0', 'f1', 'f2'].forEach((name) => writeFileSync(at(dir, name), `${dir}/${name}`)));
  writeFileSync(Buffer.concat([Buffer.from(`${tree}/`), ODD_NAME]), 'odd');
  writeFileSync(at(LONG_NAME), 'long');
  // A hole in the middle.
  truncateSync(at('f3'), 3 << 20);
  linkSync(at('f1'), at('d1', 'f3'));
  symlinkSync('f0', at('l0'));
  symlinkSync('d0', at('l1'));
  symlinkSync('missing', at('l2'));
  symlinkSync(at('d1'), at('l3'));
  symlinkSync('../f1', at('d0', 'l0'));
  symlinkSync('./d1/../f2', at('d0', 'l1'));
  symlinkSync('loop', at('loop'));
  symlinkSync('../f1', at('chain', 'c0'));
  for (let n = 1; n <= LINKS_IN_CHAIN; n++) symlinkSync(`c${n - 1}`, at('chain', `c${n}`));
  for (let n = 0; n < ENTRIES_OF_BIG; n++) writeFileSync(at('big', n % 50 === 0 ? `${n}-${'x'.repeat(245)}` : `entry-${n}`), '');
  SPECIAL_MODES.forEach((mode) => writeFileSync(at('special', mode), ''));
  execFileSync('mkfifo', [at('special', 'fifo')]);
}

/** Last: a new owner clears some of them, and others keep their owner out. */
function setModes(tree: string): void {
  for (const mode of SPECIAL_MODES) chmodSync(join(tree, 'special', mode), Number.parseInt(mode, 8));
  chmodSync(join(tree, 'readonly', 'f0'), 0o444);
  chmodSync(join(tree, 'readonly'), 0o555);
  chmodSync(join(tree, 'secret'), 0);
}

/** Paths below, deepest first. */
function paths(dir: Buffer): Buffer[] {
  return readdirSync(dir, { encoding: 'buffer' }).sort(Buffer.compare).flatMap((name) => {
    const path = Buffer.concat([dir, Buffer.from('/'), name]);
    return lstatSync(path).isDirectory() ? [...paths(path), path] : [path];
  });
}

/** Fills an empty directory. `uid`: whose it becomes, where we may say so; some of it stays ours. */
export function makeTree(tree: string, uid: number | undefined): void {
  fill(tree);
  const all = [...paths(Buffer.from(tree)), Buffer.from(tree)];
  for (const path of all) {
    const isOurs = /^(?:d2|special\/1777)/.test(path.toString().slice(tree.length + 1));
    if (uid !== undefined && !isOurs) lchownSync(path, uid, uid);
  }
  // Owners with a name and without, where root makes the tree.
  if (process.getuid?.() === 0) {
    chownSync(join(tree, 'big', 'entry-1'), NOBODY, NOBODY);
    chownSync(join(tree, 'big', 'entry-2'), 4_000_000, 4_000_001);
  }
  for (const path of all) lutimesSync(path, OLD, OLD);
  setModes(tree);
}

/** One line for each thing below the tree: type, mode, owner, links, size, time, content. */
export function describeTree(world: World): string[] {
  const lines: string[] = [];
  const visit = (path: Buffer): void => {
    const st = lstatSync(path);
    const time = Math.floor(st.mtimeMs / 1000);
    const recent = time >= world.since && time <= Date.now() / 1000 + 5;
    const facts = [st.mode.toString(8), st.uid, st.gid, st.nlink, st.isDirectory() ? '-' : st.size, recent ? 'recent' : time];
    lines.push(`${path.toString('latin1').slice(world.base.length)} ${facts.join(' ')} ${contentOf(path, st, world)}`);
    if (!st.isDirectory()) return;
    if ((st.mode & 0o700) !== 0o700) chmodSync(path, 0o700);
    for (const name of readdirSync(path, { encoding: 'buffer' }).sort(Buffer.compare)) visit(Buffer.concat([path, Buffer.from('/'), name]));
  };
  visit(Buffer.from(world.base));
  return lines;
}

function contentOf(path: Buffer, st: ReturnType<typeof lstatSync> & object, world: World): string {
  if (st.isSymbolicLink()) return readlinkSync(path, { encoding: 'buffer' }).toString('latin1').replaceAll(world.base, '@');
  if (!st.isFile()) return '';
  if ((Number(st.mode) & 0o400) === 0) chmodSync(path, 0o600);
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}
