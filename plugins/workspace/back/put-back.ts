// What makes a failed apply harmless. Copies of the files that it replaces are made first; when it fails halfway, whatever the reason, they go
// back. A file that is neither as it was nor as git writes it is somebody's newer work: it is left alone, and the copies are kept for people.
//
// No git runs here: it may be git that was cancelled.
import type { Stats } from 'node:fs';
import { copyFile, lstat, lutimes, mkdir, open, readlink, rename, rmdir, symlink, unlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { BangerError, isBangerError } from '../../../core/plugin-api.ts';
import { onDisk } from '../host/bytes.ts';
import { escapeName } from '../host/escape.ts';
import type { Change, Scratch } from './merge.ts';

/** Files as they were, below the scratch directory, by their paths. */
const copies = ({ dir }: Pick<Scratch, 'dir'>): string => join(dir, 'before');
/** Files as git would write them, likewise. */
export const rehearsed = ({ dir }: Pick<Scratch, 'dir'>): string => join(dir, 'after');

/** Copies the files that are going to be replaced or removed, where they are there. @throws operation_failed */
export async function copyOriginals(scratch: Scratch, changes: readonly Change[]): Promise<void> {
  await mkdir(copies(scratch), { mode: 0o700 });
  for (const { path } of changes) {
    await copyOriginal(scratch, path).catch((cause: NodeJS.ErrnoException) => {
      throw new BangerError('operation_failed', `${escapeName(path)} cannot be copied before it is changed (${cause.code})`, { cause });
    });
  }
}

async function copyOriginal(scratch: Scratch, path: string): Promise<void> {
  const found = await look(scratch.repo.root, path);
  if (!isContent(found)) return;
  await makeParents(copies(scratch), path);
  await copy(onDisk(scratch.repo.root, path), onDisk(copies(scratch), path), found);
}

/**
 * Runs what writes the files, and undoes it when it fails.
 * @throws what `write` throws, when all is as it was; else an error of the same code, detail: `paths`, `directory`, where the copies are
 */
export async function undoing(scratch: Scratch, changes: readonly Change[], write: () => Promise<void>): Promise<void> {
  try {
    await write();
  } catch (error) {
    const left = await putBack(scratch, changes);
    if (left.length === 0) throw error;
    throw await halfway(scratch, left, error);
  }
}

async function halfway(scratch: Scratch, paths: readonly string[], cause: unknown): Promise<BangerError> {
  // Out of the way of git's housekeeping. Where that is another file system they stay, and so does the scratch directory.
  const outside = join(scratch.repo.commonDir, `${basename(scratch.dir).replace(/^tmp_objdir-/, '')}-files`);
  const directory = await rename(copies(scratch), outside).then(() => outside, () => copies(scratch));
  const shown = paths.slice(0, 20).map(escapeName);
  const why = cause instanceof Error ? cause.message : String(cause);
  const message = `${why}; ${paths.length === 1 ? 'a file was' : `${paths.length} files were`} not put back: ${shown.slice(0, 3).join(', ')}${paths.length > 3 ? ', ...' : ''}`;
  return new BangerError(isBangerError(cause) ? cause.code : 'operation_failed', message, {
    hint: `the files as they were before are in ${directory}; remove it when they are not needed`, detail: { paths: shown, count: paths.length, directory }, cause,
  });
}

/** Whether the copies are still in the scratch directory because of an error. */
export const needsScratch = (error: unknown, dir: string): boolean => isBangerError(error) && error.detail?.['directory'] === copies({ dir });

/** Gives the paths that are not as they were. */
async function putBack(scratch: Scratch, changes: readonly Change[]): Promise<readonly string[]> {
  const touched: string[] = [];
  const left = new Set<string>();
  const each = async (paths: readonly string[], act: (path: string) => Promise<void>): Promise<void> => {
    // One that fails is no reason not to try the others.
    for (const path of paths) await act(path).catch(() => left.add(path));
  };
  await each(changes.map(({ path }) => path), async (path) => {
    const state = await stateOf(scratch, path);
    if (state === 'newer') left.add(path);
    if (state === 'written') touched.push(path);
  });
  // A file may be where a directory was, and the other way: first all goes that git has written.
  await each(touched, (path) => removeFile(scratch.repo.root, path));
  await each(touched, (path) => restore(scratch, path));
  return [...left].toSorted();
}

/** `written`: by git, in full or in part, or taken away by it; `newer`: by somebody else. */
async function stateOf(scratch: Scratch, path: string): Promise<'before' | 'written' | 'newer'> {
  const now = await look(scratch.repo.root, path);
  const before = await look(copies(scratch), path);
  const isThere = now !== undefined && !now.isDirectory();
  if (!isThere) return isContent(before) ? 'written' : 'before';
  const file = onDisk(scratch.repo.root, path);
  if (isContent(before) && now.mode === before.mode && now.size === before.size && await isBeginning(file, now, onDisk(copies(scratch), path))) return 'before';
  const after = await look(rehearsed(scratch), path);
  return isContent(after) && await isBeginning(file, now, onDisk(rehearsed(scratch), path)) ? 'written' : 'newer';
}

async function removeFile(root: string, path: string): Promise<void> {
  const found = await look(root, path);
  if (found === undefined || found.isDirectory()) return;
  await unlink(onDisk(root, path));
  for (let slash = path.lastIndexOf('/'); slash >= 0; slash = path.lastIndexOf('/', slash - 1)) {
    const isGone = await rmdir(onDisk(root, path.slice(0, slash))).then(() => true, () => false);
    if (!isGone || slash === 0) return;
  }
}

async function restore(scratch: Scratch, path: string): Promise<void> {
  const { root } = scratch.repo;
  const from = onDisk(copies(scratch), path);
  const before = await look(copies(scratch), path);
  if (!isContent(before)) return;
  await makeParents(root, path);
  const to = onDisk(root, path);
  // Empty directories, where a directory was made for files that are gone again.
  if ((await look(root, path))?.isDirectory() === true) await rmdir(to);
  try {
    await rename(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
    const beside = Buffer.concat([to, Buffer.from(`.${basename(scratch.dir)}`)]);
    await copy(from, beside, before);
    await rename(beside, to);
  }
}

const isContent = (found: Stats | undefined): found is Stats => found !== undefined && (found.isFile() || found.isSymbolicLink());

/** What is at a path; nothing is, where a part of the way is a link. */
async function look(root: string, path: string): Promise<Stats | undefined> {
  try {
    for (let slash = path.indexOf('/'); slash >= 0; slash = path.indexOf('/', slash + 1)) {
      if (!(await lstat(onDisk(root, path.slice(0, slash)))).isDirectory()) return undefined;
    }
    return await lstat(onDisk(root, path));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** The directories above a path. @throws ENOTDIR: one of them is something else, or a link */
async function makeParents(root: string, path: string): Promise<void> {
  for (let slash = path.indexOf('/'); slash >= 0; slash = path.indexOf('/', slash + 1)) {
    const dir = path.slice(0, slash);
    const found = await look(root, dir);
    if (found === undefined) await mkdir(onDisk(root, dir));
    else if (!found.isDirectory()) throw Object.assign(new Error('not a directory'), { code: 'ENOTDIR' });
  }
}

/** With its mode and times; a link as a link. */
async function copy(from: Buffer, to: Buffer, found: Stats): Promise<void> {
  if (found.isSymbolicLink()) await symlink(await readlink(from, { encoding: 'buffer' }), to);
  else await copyFile(from, to);
  await lutimes(to, found.atime, found.mtime);
}

const chunkBytes = 1 << 16;

/** Whether the content of a file is the beginning of another's, or all of it; a link has to lead to the same. */
async function isBeginning(file: Buffer, found: Stats, of: Buffer): Promise<boolean> {
  const other = await lstat(of);
  if (found.isSymbolicLink() || other.isSymbolicLink()) {
    if (!found.isSymbolicLink() || !other.isSymbolicLink()) return false;
    return (await readlink(file, { encoding: 'buffer' })).equals(await readlink(of, { encoding: 'buffer' }));
  }
  if (!found.isFile() || found.size > other.size) return false;
  await using one = await open(file);
  await using two = await open(of);
  const [a, b] = [Buffer.alloc(chunkBytes), Buffer.alloc(chunkBytes)];
  for (let at = 0; at < found.size;) {
    const wanted = Math.min(chunkBytes, found.size - at);
    const [read, known] = await Promise.all([one.read(a, 0, wanted, at), two.read(b, 0, wanted, at)]);
    const length = Math.min(read.bytesRead, known.bytesRead);
    if (length === 0 || !a.subarray(0, length).equals(b.subarray(0, length))) return false;
    at += length;
  }
  return true;
}
