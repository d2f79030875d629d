// The tree of what is sent: by it the guest's work is told from what it began with.
import { copyFile, rm, stat, utimes } from 'node:fs/promises';
import type { Git } from './git.ts';

export interface BaseJob {
  readonly git: Git;
  /** The staged index. */
  readonly index: string;
  /** Where its copy goes; removed at the end. */
  readonly temp: string;
  readonly stores: Readonly<Record<string, string>>;
  readonly filtersOff: readonly string[];
  /** Untracked files that are sent; latin1. */
  readonly untracked: readonly string[];
}

/**
 * The tracked files as they are on disk, and the untracked ones that go along. Files whose stamps the index has are taken for unchanged; the others
 * go in as they are, without filters, as they will in a guest that has none.
 */
export async function baseTree(job: BaseJob): Promise<string> {
  const { git, index, temp } = job;
  const { mtimeMs } = await stat(index);
  await copyFile(index, temp);
  await utimes(temp, Math.floor(mtimeMs) / 1000, Math.floor(mtimeMs) / 1000);
  const env = { ...job.stores, GIT_INDEX_FILE: temp };
  const settings = [...job.filtersOff, '-c', 'core.safecrlf=false', '-c', 'core.splitIndex=false', '-c', 'diff.ignoreSubmodules=dirty', '-c', 'core.fsync=none', '-c', 'core.looseCompression=1'];
  try {
    await git.run([...settings, 'add', '-u', '--', ':/'], { env });
    if (job.untracked.length > 0) {
      await git.run([...settings, 'update-index', '--add', '-z', '--stdin'], { env, input: job.untracked.map((path) => `${path}\0`).join('') });
    }
    return (await git.run(['write-tree'], { env })).stdout.trim();
  } finally {
    await rm(temp, { force: true });
  }
}
