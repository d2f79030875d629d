// A directory of objects inside the host's, for what a guest made until git has judged it. The name is one that git's housekeeping knows as a
// leftover and removes when it is old.
import { mkdir, open, readdir, rename, stat, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { removeTree } from '../../../core/plugin-api.ts';
import type { Repository } from '../host/repository.ts';
import { requireWord } from './names.ts';

/** What an import that was killed may leave; the next one with the same operation removes it. */
export function quarantineDir(repo: Pick<Repository, 'commonDir'>, operation: string): string {
  return join(repo.commonDir, 'objects', `tmp_objdir-banger-${requireWord('operation', operation)}`);
}

export interface Quarantine {
  readonly dir: string;
  /** The guest's pack in it: a link, because the file may be on another file system. */
  readonly pack: string;
  readonly index: string;
  /** Prefix of the packs that our own git makes: `<out>-<hash>.pack`. */
  readonly out: string;
}

/** An empty one. @param packFile the guest's pack, absolute */
export async function openQuarantine(dir: string, packFile: string): Promise<Quarantine> {
  await closeQuarantine(dir);
  await mkdir(join(dir, 'pack'), { recursive: true, mode: 0o700 });
  await mkdir(join(dir, 'out'), { mode: 0o700 });
  const pack = join(dir, 'pack', 'pack-guest.pack');
  await symlink(packFile, pack);
  return { dir, pack, index: join(dir, 'pack', 'pack-guest.idx'), out: join(dir, 'out', 'pack') };
}

export async function closeQuarantine(dir: string): Promise<void> {
  await removeTree(dir, { within: join(dir, '..') });
}

/** Index files of the packs that our own git made. */
export async function madePacks({ dir }: Quarantine): Promise<string[]> {
  const names = await readdir(join(dir, 'out'));
  return names.filter((name) => name.endsWith('.idx')).map((name) => join(dir, 'out', name));
}

/**
 * Moves the packs that our own git made to the repository's objects, for good: they are not removed when what follows fails, because another
 * git may count on their objects from this moment on. Without refs to them git's housekeeping removes them.
 */
export async function publishPacks({ dir }: Pick<Quarantine, 'dir'>, repo: Pick<Repository, 'commonDir'>): Promise<void> {
  const target = join(repo.commonDir, 'objects', 'pack');
  await mkdir(target, { recursive: true });
  // git takes a pack to be there once its index is.
  const rank = (name: string): number => (name.endsWith('.pack') ? 0 : name.endsWith('.idx') ? 2 : 1);
  const names = (await readdir(join(dir, 'out'))).toSorted((a, b) => rank(a) - rank(b));
  for (const name of names) {
    // The same name is the same pack: an earlier try has come so far.
    if (!(await exists(join(target, name)))) await rename(join(dir, 'out', name), join(target, name));
  }
  await syncDir(target);
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(() => true, () => false);
}

/** Makes renames in a directory last over a loss of power. A directory that is not there is passed over: git has other stores for refs. */
export async function syncDir(path: string): Promise<void> {
  let handle;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
