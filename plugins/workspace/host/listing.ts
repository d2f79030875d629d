// The files of a working tree that go along: what the index names, as it is on disk now, and untracked files when asked for.
import { lstatSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { onDisk, splitNul } from './bytes.ts';
import type { Git } from './git.ts';
import type { TreeEntry } from './trees.ts';
import { inTurns } from './turns.ts';
import type { WorkFile } from './types.ts';

export interface IndexEntries {
  /** All that a tree of the index has; in git's order. What is only intended to be added is not among them. */
  readonly entries: readonly TreeEntry[];
  /** Files and links that git keeps in the working tree, intended ones too; in git's order. */
  readonly tracked: readonly string[];
  /** Paths of submodules. */
  readonly gitlinks: readonly string[];
  readonly unmerged?: string;
  /** Object id of the empty blob when an entry is only intended: no tree leads to it. */
  readonly emptyBlob?: string;
}
interface ReadOptions { readonly signal?: AbortSignal | undefined; readonly env?: Readonly<Record<string, string>> }

const gitlinkMode = '160000';
const emptyBlobs = new Set(['e69de29bb2d1d6434b8b29ae775ad8c2e48c5391', '473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813']);

/** What the index names; `env` may name another one. Entries outside of a sparse checkout are not in the working tree. */
export async function readIndex(git: Git, options: ReadOptions = {}): Promise<IndexEntries> {
  // "<tag> <mode> <id> <stage>\t<path>": S stands for skip-worktree.
  const { stdout } = await git.run(['ls-files', '-s', '-t', '-z'], options.env === undefined ? {} : { env: options.env });
  const entries: TreeEntry[] = [];
  const tracked: string[] = [];
  const gitlinks: string[] = [];
  let unmerged: string | undefined;
  let hasEmpty = false;
  await inTurns(splitNul(stdout), (entry) => {
    const tab = entry.indexOf('\t');
    const path = entry.slice(tab + 1);
    const [mode, id] = [entry.slice(2, 8), entry.slice(9, tab - 2)];
    if (entry[tab - 1] !== '0') unmerged ??= path;
    entries.push({ mode, id, path });
    hasEmpty ||= emptyBlobs.has(id);
    if (mode === gitlinkMode) gitlinks.push(path);
    else if (entry[0] !== 'S') tracked.push(path);
  }, options.signal);
  const intended = hasEmpty ? await readIntended(git, options) : new Set();
  const emptyBlob = entries.find(({ path }) => intended.has(path))?.id;
  return {
    tracked, gitlinks, entries: intended.size === 0 ? entries : entries.filter(({ path }) => !intended.has(path)),
    ...(unmerged === undefined ? {} : { unmerged }), ...(emptyBlob === undefined ? {} : { emptyBlob }),
  };
}

/** `CE_INTENT_TO_ADD` of git's read-cache.h. */
const intendedFlag = 0x2000_0000;

/** Paths of entries that are only intended to be added: they look like empty files otherwise. */
async function readIntended(git: Git, { env }: ReadOptions): Promise<ReadonlySet<string>> {
  const { stdout } = await git.run(['ls-files', '--debug', '-z'], env === undefined ? {} : { env });
  const found = new Set<string>();
  for (const match of stdout.matchAll(/([^\0]+)\0  ctime: [^\n]*\n  mtime: [^\n]*\n  dev: [^\n]*\n  uid: [^\n]*\n  size: \d+\tflags: ([0-9a-f]+)\n/g)) {
    if ((Number.parseInt(match[2]!, 16) & intendedFlag) !== 0) found.add(match[1]!);
  }
  return found;
}

export interface Untracked {
  /** Files, neither tracked nor ignored; in git's order. */
  readonly paths: readonly string[];
  /** Directories that are repositories of their own, without the slash at the end. */
  readonly repositories: readonly string[];
}

export async function readUntracked(git: Git, { signal, timeoutMs }: { readonly signal?: AbortSignal | undefined; readonly timeoutMs?: number }): Promise<Untracked> {
  const { stdout } = await git.run(['ls-files', '--others', '--exclude-standard', '-z'], timeoutMs === undefined ? {} : { timeoutMs });
  const paths: string[] = [];
  const repositories: string[] = [];
  await inTurns(splitNul(stdout), (path) => {
    if (path.endsWith('/')) repositories.push(path.slice(0, -1));
    else paths.push(path);
  }, signal);
  return { paths, repositories };
}

export interface Looked {
  readonly files: readonly WorkFile[];
  /** Sockets, fifos and devices: they cannot be sent. */
  readonly odd: readonly string[];
}

/**
 * Paths below a root as they are on disk. What is gone, has become a directory, or is reached through a link is not a file any more, as git sees
 * it too. `prefix` is put before the paths of the result.
 */
export async function lookAt(root: string, paths: Iterable<string>, options: { readonly prefix?: string; readonly signal?: AbortSignal | undefined } = {}): Promise<Looked> {
  const files: WorkFile[] = [];
  const odd: string[] = [];
  const isPlainDir = dirMemory(root);
  const { prefix = '', signal } = options;
  await inTurns(paths, (path) => {
    const slash = path.lastIndexOf('/');
    const stat = slash < 0 || isPlainDir(path.slice(0, slash)) ? statOf(root, path) : undefined;
    if (stat === undefined || stat.isDirectory()) return;
    if (stat.isFile() || stat.isSymbolicLink()) files.push(workFile(prefix + path, stat));
    else odd.push(prefix + path);
  }, signal);
  return { files, odd };
}

function dirMemory(root: string): (dir: string) => boolean {
  const known = new Map<string, boolean>();
  return function isPlainDir(dir: string): boolean {
    const before = known.get(dir);
    if (before !== undefined) return before;
    const slash = dir.lastIndexOf('/');
    const is: boolean = (slash < 0 || isPlainDir(dir.slice(0, slash))) && statOf(root, dir)?.isDirectory() === true;
    known.set(dir, is);
    return is;
  };
}

function statOf(root: string, path: string): BigIntStats | undefined {
  try {
    // Synchronous: a call takes microseconds, its promise takes twenty.
    return lstatSync(onDisk(root, path), { bigint: true, throwIfNoEntry: false });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') return undefined;
    throw error;
  }
}

const workFile = (path: string, stat: BigIntStats): WorkFile => ({
  path, kind: stat.isFile() ? 'file' : 'link', mode: Number(stat.mode & 0o7777n), size: Number(stat.size),
  mtimeNs: stat.mtimeNs, ctimeNs: stat.ctimeNs, ino: stat.ino,
});

/** Of these paths those that are directories. */
export function directories(root: string, paths: readonly string[]): readonly string[] {
  const isPlainDir = dirMemory(root);
  return paths.filter((path) => isPlainDir(path));
}

/** Two lists in order, as one. */
export async function merged<T>(a: readonly T[], b: readonly T[], pathOf: (item: T) => string): Promise<readonly T[]> {
  if (b.length === 0) return a;
  if (a.length === 0) return b;
  const all: T[] = [];
  let next = 0;
  await inTurns(a, (item) => {
    const path = pathOf(item);
    for (; next < b.length && pathOf(b[next]!) < path; next += 1) all.push(b[next]!);
    all.push(item);
  });
  for (; next < b.length; next += 1) all.push(b[next]!);
  return all;
}
