// The three-way merge of kept work with the host's working files, on objects only: neither files nor index of the host are touched.
import { copyFile, mkdir, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { splitNul, toBytes } from '../host/bytes.ts';
import type { Git } from '../host/git.ts';
import type { Repository } from '../host/repository.ts';
import { dates, identity } from './commits.ts';
import { alternates } from './limits.ts';
import type { KeptWork } from './list.ts';

/** A directory of ours for indexes and objects, and git with both. */
export interface Scratch {
  readonly dir: string;
  readonly repo: Repository;
  /** Its index is a copy, and objects are written to the directory. */
  readonly git: Git;
}
/** A difference of two trees. Path: latin1. Mode `000000`: not there. */
export interface Change { readonly path: string; readonly oldMode: string; readonly oldId: string; readonly mode: string; readonly id: string }
/** An entry of the index as a conflict leaves it: stage 1 is the base, 2 the host's, 3 the guest's. */
export interface Stage { readonly mode: string; readonly id: string; readonly stage: string; readonly path: string }
export interface Merged {
  /** Tree of the host's working files: what the index knows, as it is on disk. */
  readonly ours: string;
  /** Tree of the result. Files in conflict hold git's markers. */
  readonly result: string;
  readonly stages: readonly Stage[];
}

/** Settings under which an index of ours is a whole file of its own, and every path has its file. */
const plainIndex = ['-c', 'core.splitIndex=false', '-c', 'index.sparse=false', '-c', 'core.sparseCheckout=false', '-c', 'core.untrackedCache=false', '-c', 'core.safecrlf=false', '-c', 'submodule.recurse=false'];

/** @param dir exists, empty */
export async function makeScratch(git: Git, repo: Repository, dir: string): Promise<Scratch> {
  await copyIndex(join(repo.gitDir, 'index'), join(dir, 'index'));
  const env = { GIT_INDEX_FILE: join(dir, 'index'), GIT_OBJECT_DIRECTORY: dir, GIT_ALTERNATE_OBJECT_DIRECTORIES: alternates([join(repo.commonDir, 'objects')]) };
  return { dir, repo, git: { run: (args, options = {}) => git.run([...plainIndex, ...args], { ...options, env: { ...env, ...options.env } }) } };
}

/** A copy that git does not take to be newer than it is: an entry changed after the index was written would pass for clean. No index is an empty one. */
export async function copyIndex(from: string, to: string): Promise<void> {
  try {
    const { mtimeMs } = await stat(from);
    await copyFile(from, to);
    const seconds = Math.floor(mtimeMs / 1000);
    await utimes(to, seconds, seconds);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

export async function mergeWork(scratch: Scratch, work: Pick<KeptWork, 'vm' | 'ids'>): Promise<Merged> {
  const { git } = scratch;
  await git.run(['add', '-u']);
  const ours = (await git.run(['write-tree'])).stdout.trim();
  const commit = async (tree: string, message: string): Promise<string> =>
    (await git.run(['commit-tree', '-p', work.ids.base, '-m', message, tree], { env: { ...identity, ...dates(new Date()) } })).stdout.trim();
  const sides = { ours: await commit(ours, 'host'), theirs: await commit(`${work.ids.worktree}^{tree}`, 'guest') };
  const { names, env } = await nameSides(scratch, work.vm, sides);
  const settings = await changesAttributes(git, work.ids) ? ['-c', 'merge.renormalize=false'] : [];
  const { stdout } = await git.run([...settings, 'merge-tree', '--write-tree', '-z', '--no-messages', ...names], { env, okCodes: [0, 1] });
  const [result = '', ...entries] = splitNul(stdout);
  const stages = entries.map((entry) => {
    const tab = entry.indexOf('\t');
    const [mode = '', id = '', stage = ''] = entry.slice(0, tab).split(' ');
    return { mode, id, stage, path: entry.slice(tab + 1) };
  });
  return { ours, result, stages };
}

/** A merge goes by the attributes of the host's working files; under merge.renormalize by those of the result, too, which may choose filters. */
async function changesAttributes(git: Git, { base, worktree }: KeptWork['ids']): Promise<boolean> {
  const { stdout } = await git.run(['diff-tree', '-r', '--name-only', '--no-renames', base, worktree, '--', ':(glob,icase)**/.gitattributes']);
  return stdout !== '';
}

/**
 * Names for the sides, because git writes into a file in conflict what they are called. They are refs of a linked working tree that nobody knows
 * of: a directory of ours, whose common directory is the repository's.
 */
async function nameSides({ git, dir, repo }: Scratch, vm: string, sides: { readonly ours: string; readonly theirs: string }): Promise<{ readonly names: readonly string[]; readonly env: Readonly<Record<string, string>> }> {
  const { stdout: storage } = await git.run(['config', '--get', 'extensions.refstorage'], { okCodes: [0, 1] });
  if (storage !== '' && storage !== 'files\n') return { names: [sides.ours, sides.theirs], env: {} };
  const gitDir = join(dir, 'merge');
  await mkdir(join(gitDir, 'refs/worktree'), { recursive: true });
  const files = { HEAD: sides.ours, [`refs/worktree/${vm}`]: sides.theirs, commondir: toBytes(repo.commonDir) };
  for (const [name, content] of Object.entries(files)) await writeFile(join(gitDir, name), `${content}\n`, 'latin1');
  await copyIndex(join(repo.gitDir, 'config.worktree'), join(gitDir, 'config.worktree'));
  return { names: ['HEAD', `worktree/${vm}`], env: { GIT_DIR: gitDir, GIT_WORK_TREE: repo.root } };
}

export async function changesOf(git: Git, from: string, to: string): Promise<Change[]> {
  const { stdout } = await git.run(['diff-tree', '-r', '-z', '--no-renames', '--raw', from, to]);
  const words = [...splitNul(stdout)];
  // `:<mode> <mode> <id> <id> <letter>`, then the path.
  return Array.from({ length: words.length / 2 }, (_, n) => {
    const [oldMode = '', mode = '', oldId = '', id = ''] = words[2 * n]!.slice(1).split(' ');
    return { oldMode, mode, oldId, id, path: words[2 * n + 1]! };
  });
}

const gitlink = '160000';
export const isSubmodule = ({ oldMode, mode }: Pick<Change, 'mode' | 'oldMode'>): boolean => mode === gitlink || oldMode === gitlink;

/** The result with the host's submodules. Gives the paths of those that the work has otherwise. */
export async function withoutSubmodules(scratch: Scratch, merged: Merged): Promise<{ readonly merged: Merged; readonly left: readonly string[] }> {
  const inConflict = new Set(merged.stages.filter(({ mode }) => mode === gitlink).map(({ path }) => path));
  const changed = (await changesOf(scratch.git, merged.ours, merged.result)).filter(isSubmodule);
  const left = [...new Set([...inConflict, ...changed.map(({ path }) => path)])].toSorted();
  const stages = merged.stages.filter(({ path }) => !inConflict.has(path));
  if (changed.length === 0) return { merged: { ...merged, stages }, left };
  const back = changed.map(({ path, mode, id, oldMode, oldId }) => ({ path, oldMode: mode, oldId: id, mode: oldMode, id: oldId }));
  return { merged: { ...merged, result: await treeWith(scratch, merged.result, back), stages }, left };
}

/** A tree with some changes made. */
export async function treeWith({ git, dir }: Scratch, tree: string, changes: readonly Change[]): Promise<string> {
  const env = { GIT_INDEX_FILE: join(dir, 'tree-index') };
  await git.run(['read-tree', tree], { env });
  const lines = changes.map(({ mode, id, path }) => `${mode === '000000' ? '0' : mode} ${id}\t${path}\0`);
  await git.run(['update-index', '-z', '--index-info'], { env, input: lines.join('') });
  return (await git.run(['write-tree'], { env })).stdout.trim();
}
