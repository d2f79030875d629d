// The index that goes along: the host's own, brought up to date in a copy, or that of another commit with its files.
import { copyFile, mkdir, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { isBangerError } from '../../../core/plugin-api.ts';
import type { Filters } from './filters.ts';
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
  readonly filters: Filters;
}

/** Copies the host's index and refreshes the copy against the working tree. Flags (skip-worktree, assume-unchanged, intent-to-add) stay. */
export async function copyIndex({ git, repo, file, filters }: IndexJob): Promise<void> {
  const env = { GIT_INDEX_FILE: file };
  const source = join(repo.gitDir, 'index');
  try {
    await copyWithTime(source, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    await git.run(['read-tree', '--empty'], { env });
  }
  await withFilters(filters, (settings) =>
    git.run([...plainIndex, ...settings, 'update-index', '-q', '--force-write-index', '--refresh'], { env, okCodes: [0, 1] }));
}

/** Git trusts a file's stamp only when it is older than the index that has it: a younger copy would vouch for what the original does not. */
export async function copyWithTime(source: string, target: string): Promise<void> {
  const { mtimeMs } = await stat(source);
  await copyFile(source, target);
  const seconds = Math.floor(mtimeMs) / 1000;
  await utimes(target, seconds, seconds);
}

/** How far the guest's clock may be behind the host's. */
const clockLagMs = 60_000;

/**
 * Makes the index older than what may yet be written in the guest: a file that its clock, when it is behind, dates as the host's was, and of the same size,
 * would pass for the one that was sent. Git compares the contents of files that are no older than the index (its documentation, racy-git).
 */
export async function makeOlder(index: string): Promise<void> {
  const { mtimeMs } = await stat(index);
  const seconds = Math.floor(mtimeMs - clockLagMs) / 1000;
  await utimes(index, seconds, seconds);
}

/** Makes the index of a commit, and its files below `checkout`. */
export async function checkOut({ git, repo, file, filters }: IndexJob, commit: string, checkout: string): Promise<void> {
  await mkdir(checkout, { recursive: true });
  const env = { GIT_INDEX_FILE: file };
  await git.run([...plainIndex, 'read-tree', commit], { env });
  const at = [...plainIndex, `--git-dir=${repo.gitDir}`, `--work-tree=${checkout}`];
  const options = { env, cwd: checkout };
  await withFilters(filters, (settings) => git.run([...at, ...settings, 'checkout-index', '--all', '--index', '--quiet', '--force'], options))
    .catch((error: unknown) => { throw explainMissing(error, repo, gitStderr(error)); });
}

/** Git gives up on a filter that should keep running and does not even start. */
async function withFilters(filters: Filters, run: (settings: readonly string[]) => Promise<unknown>): Promise<void> {
  try {
    await run(filters.lenient);
  } catch (error) {
    if (!filters.any || !isBangerError(error) || error.code !== 'operation_failed') throw error;
    await run(filters.off);
  }
}
