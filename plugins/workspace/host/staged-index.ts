// The index that goes along: the host's own, brought up to date in a copy, or that of another commit with its files.
import { copyFile, mkdir, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { explainMissing } from './missing.ts';
import { gitStderr } from './git.ts';
import type { Git } from './git.ts';
import type { Repository } from './repository.ts';

// Self-contained and readable by any git: no shared part, nothing that only a file system watcher or a sparse reader understands.
const plainIndex = ['core.splitIndex=false', 'core.untrackedCache=false', 'index.sparse=false'].flatMap((setting) => ['-c', setting]);

export interface IndexJob {
  readonly git: Git;
  readonly repo: Repository;
  /** Where the index goes. */
  readonly file: string;
  /** For objects that git makes on the way; see `storeEnv`. */
  readonly stores: Readonly<Record<string, string>>;
  /** Settings for git that let it go on without a filter's program. */
  readonly filters: readonly string[];
}

/** Copies the host's index and refreshes the copy against the working tree. Flags (skip-worktree, assume-unchanged, intent-to-add) stay. */
export async function copyIndex({ git, repo, file, filters }: IndexJob): Promise<void> {
  const env = { GIT_INDEX_FILE: file };
  const source = join(repo.gitDir, 'index');
  try {
    const { mtimeMs } = await stat(source);
    await copyFile(source, file);
    // Git trusts a file's stamp only when it is older than the index that has it: a younger copy would vouch for what the original does not.
    const seconds = Math.floor(mtimeMs) / 1000;
    await utimes(file, seconds, seconds);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    await git.run(['read-tree', '--empty'], { env });
  }
  await git.run([...plainIndex, ...filters, 'update-index', '-q', '--force-write-index', '--refresh'], { env, okCodes: [0, 1] });
}

/** Makes the index of a commit, and its files below `checkout`. */
export async function checkOut({ git, repo, file, filters }: IndexJob, commit: string, checkout: string): Promise<void> {
  await mkdir(checkout, { recursive: true });
  const env = { GIT_INDEX_FILE: file };
  const at = [...plainIndex, ...filters, `--git-dir=${repo.gitDir}`, `--work-tree=${checkout}`];
  await git.run([...plainIndex, 'read-tree', commit], { env });
  await git.run([...at, 'checkout-index', '--all', '--index', '--quiet', '--force'], { env, cwd: checkout })
    .catch((error: unknown) => { throw explainMissing(error, repo, gitStderr(error)); });
  await git.run([...at, 'update-index', '-q', '--refresh'], { env, okCodes: [0, 1], cwd: checkout });
}

/** The index as a tree, its new objects in our store; entries that are only intended are not in it. */
export async function indexTree({ git, repo, file, stores }: Omit<IndexJob, 'filters'>): Promise<string> {
  const { stdout } = await git.run([...plainIndex, 'write-tree'], { env: { ...stores, GIT_INDEX_FILE: file } })
    .catch((error: unknown) => { throw explainMissing(error, repo, gitStderr(error)); });
  return stdout.trim();
}
