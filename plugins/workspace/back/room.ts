// Whether there is room in the host's working tree for the files that work adds: what git does not know of there is never overwritten.
import type { Stats } from 'node:fs';
import { lstat, readdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { BangerError } from '../../../core/plugin-api.ts';
import { onDisk, splitNul } from '../host/bytes.ts';
import { escapeName } from '../host/escape.ts';
import { copyIndex } from './merge.ts';
import type { Change, Scratch } from './merge.ts';

const shownPaths = 20;

/** @param paths as people see them */
export function wouldOverwrite(root: string, paths: readonly string[], cause?: unknown): BangerError {
  const shown = paths.slice(0, shownPaths);
  return new BangerError('workspace.would_overwrite', `${paths.length === 1 ? 'A file' : `${paths.length} files`} in ${root} would be overwritten: ${shown.slice(0, 3).join(', ')}${paths.length > 3 ? ', ...' : ''}`, {
    hint: 'move them away, or add them to the index and commit them, then apply again', detail: { paths: shown, count: paths.length }, ...(cause === undefined ? {} : { cause }),
  });
}

/**
 * Paths that the work adds and the host has already, untracked or ignored, with the very content: there is nothing to do for them.
 * @throws workspace.would_overwrite when one is in the way
 */
export async function findSame(scratch: Scratch, changes: readonly Change[]): Promise<readonly string[]> {
  const { root } = scratch.repo;
  const added = changes.filter(({ oldMode }) => oldMode === '000000');
  const gone = new Set(changes.filter(({ mode }) => mode === '000000').map(({ path }) => path));
  const inWay = new Set<string>();
  const there: string[] = [];
  const look = createLook(root);
  for (const { path } of added) {
    const clash = await findClash(look, path, gone);
    if (clash === 'same?') there.push(path);
    else if (clash !== undefined) inWay.add(clash);
  }
  const same = await sameContent(scratch, there, new Map(added.map(({ path, mode, id }) => [path, `${mode} ${id}`])));
  for (const path of there) if (!same.has(path)) inWay.add(path);
  if (inWay.size > 0) throw wouldOverwrite(root, [...inWay].toSorted().map(escapeName));
  return [...same];
}

interface Look { at(path: string): Promise<Stats | undefined>; names(path: string): Promise<readonly string[]> }

/** Directories are looked at once. */
function createLook(root: string): Look {
  const known = new Map<string, Promise<Stats | undefined>>();
  return {
    at(path) {
      const seen = known.get(path) ?? lstat(onDisk(root, path)).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
        throw error;
      });
      known.set(path, seen);
      return seen;
    },
    names: async (path) => (await readdir(onDisk(root, path), { encoding: 'buffer' })).map((name) => name.toString('latin1')),
  };
}

/** What is in the way of a new file: a path; `same?` when it is a file or link at the very path, whose content tells. */
async function findClash(look: Look, path: string, gone: ReadonlySet<string>): Promise<string | undefined> {
  for (let slash = path.indexOf('/'); slash >= 0; slash = path.indexOf('/', slash + 1)) {
    const above = path.slice(0, slash);
    const found = await look.at(above);
    if (found === undefined) return undefined;
    // A link is no directory here: nothing is written through it.
    if (!found.isDirectory()) return gone.has(above) ? undefined : above;
  }
  const found = await look.at(path);
  if (found === undefined) return undefined;
  if (found.isDirectory()) return firstKept(look, path, gone);
  return found.isFile() || found.isSymbolicLink() ? 'same?' : path;
}

/** A file below a directory that stays when the work's deletions are done; directories alone hold nothing. */
async function firstKept(look: Look, dir: string, gone: ReadonlySet<string>): Promise<string | undefined> {
  for (const name of await look.names(dir)) {
    const path = `${dir}/${name}`;
    if ((await look.at(path))?.isDirectory() === true) {
      const below = await firstKept(look, path, gone);
      if (below !== undefined) return below;
    } else if (!gone.has(path)) {
      return path;
    }
  }
  return undefined;
}

/** Which of the files are what the work has there, as git would add them. */
async function sameContent({ git, dir }: Scratch, paths: readonly string[], wanted: ReadonlyMap<string, string>): Promise<Set<string>> {
  if (paths.length === 0) return new Set();
  const index = join(dir, 'same-index');
  await copyIndex(join(dir, 'index'), index);
  const env = { GIT_INDEX_FILE: index };
  await git.run(['update-index', '--add', '--replace', '-z', '--stdin'], { env, input: paths.map((path) => `${path}\0`).join('') });
  const { stdout } = await git.run(['ls-files', '-s', '-z'], { env });
  const asked = new Set(paths);
  const same = new Set<string>();
  for (const entry of splitNul(stdout)) {
    const tab = entry.indexOf('\t');
    const path = entry.slice(tab + 1);
    if (asked.has(path) && wanted.get(path) === entry.slice(0, tab - 2)) same.add(path);
  }
  return same;
}

/** A file of zeros is small until it is written. @throws workspace.too_large */
export async function requireSpace({ git, repo }: Scratch, changes: readonly Change[]): Promise<void> {
  const ids = changes.filter(({ mode }) => mode !== '000000').map(({ id }) => `${id}\n`);
  const { stdout } = await git.run(['cat-file', '--batch-check=%(objectsize)'], { input: ids.join('') });
  const needed = stdout.split('\n').reduce((sum, size) => sum + Number(size), 0);
  const { bavail, bsize } = await statfs(repo.root);
  if (needed <= bavail * bsize) return;
  const mib = (bytes: number): number => Math.round(bytes / 1_048_576);
  throw new BangerError('workspace.too_large', `The work has ${mib(needed)} MiB of files, and ${repo.root} has room for ${mib(bavail * bsize)} MiB`);
}
