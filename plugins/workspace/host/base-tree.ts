// The tree of what is sent: by it the guest's work is told from what it began with.
import { rm } from 'node:fs/promises';
import type { Git } from './git.ts';
import { splitNul } from './bytes.ts';
import { readIndex } from './listing.ts';
import { copyWithTime } from './staged-index.ts';
import type { TreeEntry } from './trees.ts';

export interface BaseJob {
  readonly git: Git;
  /** The staged index, and what it has. */
  readonly index: string;
  readonly entries: readonly TreeEntry[];
  /** Where a copy of it may go; removed at the end. */
  readonly temp: string;
  /** New objects go here; those that the host has may come again. */
  readonly objectsDir: string;
  readonly filtersOff: readonly string[];
  /** Untracked files that are sent; latin1. */
  readonly untracked: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

/**
 * The tracked files as they are on disk, and the untracked ones that go along. Files whose stamps the index has are taken for unchanged; the others
 * go in as they are, without filters, as they will in a guest that has none.
 */
export async function baseEntries(job: BaseJob): Promise<readonly TreeEntry[]> {
  const { git, entries, index, temp, signal } = job;
  const { changed, gone } = await changedFiles(job);
  const paths = [...changed, ...job.untracked];
  const without = (all: readonly TreeEntry[]): readonly TreeEntry[] => (gone.size === 0 ? all : all.filter(({ path }) => !gone.has(path)));
  if (paths.length === 0) return without(entries);
  await copyWithTime(index, temp);
  try {
    // Without the host's objects: git would give new times to those that it finds again.
    const env = { GIT_INDEX_FILE: temp, GIT_OBJECT_DIRECTORY: job.objectsDir };
    await git.run([...job.filtersOff, ...settings, 'update-index', '--add', '--remove', '--replace', '-z', '--stdin'], { env, input: paths.map((path) => `${path}\0`).join('') });
    return without((await readIndex(git, { env: { GIT_INDEX_FILE: temp }, signal })).entries);
  } finally {
    await rm(temp, { force: true });
  }
}

const settings = ['core.safecrlf=false', 'core.splitIndex=false', 'core.fsync=none', 'core.looseCompression=1'].flatMap((setting) => ['-c', setting]);

/** Tracked paths whose file differs from the index, and those without one. */
async function changedFiles({ git, index, filtersOff }: BaseJob): Promise<{ readonly changed: readonly string[]; readonly gone: ReadonlySet<string> }> {
  const { stdout } = await git.run([...filtersOff, 'diff-files', '--raw', '-z', '--no-renames', '--ignore-submodules=dirty'], { env: { GIT_INDEX_FILE: index } });
  const changed: string[] = [];
  const gone = new Set<string>();
  let status = '';
  for (const word of splitNul(stdout)) {
    // ":<mode> <mode> <id> <id> <letter>", then the path.
    if (status === '') status = word.slice(-1);
    else {
      if (status === 'D') gone.add(word);
      else changed.push(word);
      status = '';
    }
  }
  return { changed, gone };
}
