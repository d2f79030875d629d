// Kept work goes into the host's working files: a three-way merge of what went in, the files as they are now, and what came out.
//
// git does all of it. The merge is done on objects; then `read-tree -m -u` takes the working files from what they are to the result, and
// looks at all of them before it writes the first. The index stays as it is, but for the stages of files in conflict. What fails halfway is undone.
import { randomBytes } from 'node:crypto';
import { lstat, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { missingRequirement } from '../../../core/plugin-api.ts';
import type { Exec } from '../../../core/plugin-api.ts';
import { splitNul } from '../host/bytes.ts';
import { escapeName } from '../host/escape.ts';
import { createGit } from '../host/git.ts';
import type { Git } from '../host/git.ts';
import { unmerged } from '../host/in-progress.ts';
import type { Repository } from '../host/repository.ts';
import { filtersOff, isAttributes, moveFiles, rehearse } from './checkout.ts';
import type { Plan } from './checkout.ts';
import type { KeptWork } from './list.ts';
import { changesOf, makeScratch, mergeWork, withoutSubmodules } from './merge.ts';
import type { Change, Scratch, Stage } from './merge.ts';
import { copyOriginals, needsScratch, undoing } from './put-back.ts';
import { closeQuarantine, quarantineDir } from './quarantine.ts';
import { findSame, requireSpace } from './room.ts';
import { indexBusy, lockIndex } from './stages.ts';
import { plainErrors } from './text.ts';

export interface Applied {
  /** Files that were written or removed. */
  readonly applied: number;
  /** Of them, new ones. */
  readonly added: number;
  /** Of them, removed ones. */
  readonly deleted: number;
  /** Paths that git could not merge, latin1, sorted: with markers in the file where it has two sides, and with stages in the index. */
  readonly conflicts: readonly string[];
  /** One sentence each, for people. */
  readonly notices: readonly string[];
}

/**
 * Applies work onto the working files as they are now, which may hold changes of their own. What it changes is left unstaged, what it adds
 * untracked. When it is refused nothing has been touched; when it fails, files are put back as they were (those that were not: detail `paths`,
 * `directory` of the copies). After a kill it can be done again: what is applied already merges with itself.
 *
 * @throws workspace.would_overwrite: an untracked or ignored file is in the way (detail: paths, count); workspace.in_progress: files are unmerged
 * already; workspace.too_large: no room on the disk; missing_requirement: git is older than 2.38; busy: another git has the index; operation_failed; cancelled
 */
export async function applyWork(exec: Pick<Exec, 'run'>, repo: Repository, work: Pick<KeptWork, 'vm' | 'ids'>, call: { readonly signal?: AbortSignal } = {}): Promise<Applied> {
  const git = plainErrors(createGit(exec, repo.root, call));
  await requireMergeTree(git);
  await requireIndex(git, repo);
  const dir = quarantineDir(repo, `apply-${randomBytes(6).toString('hex')}`);
  await mkdir(join(dir, 'out'), { recursive: true, mode: 0o700 });
  let isNeeded = false;
  try {
    return await apply(await makeScratch(git, repo, dir), { git, work });
  } catch (error) {
    isNeeded = needsScratch(error, dir);
    throw error;
  } finally {
    if (!isNeeded) await closeQuarantine(dir);
  }
}

async function requireMergeTree(git: Git): Promise<void> {
  const { stdout } = await git.run(['version']);
  const [major = 0, minor = 0] = (/(\d+)\.(\d+)/.exec(stdout)?.slice(1) ?? []).map(Number);
  if (major > 2 || (major === 2 && minor >= 38)) return;
  throw missingRequirement(`Applying work needs git 2.38 or newer, and this is ${escapeName(stdout.trim())}`, 'git diff --binary <base> <worktree> with the refs of the work, piped into git apply --3way, does it too');
}

async function requireIndex(git: Git, repo: Repository): Promise<void> {
  const [entry] = splitNul((await git.run(['ls-files', '-u', '-z'])).stdout);
  if (entry !== undefined) throw unmerged(repo, escapeName(entry.slice(entry.indexOf('\t') + 1)));
  const isLocked = await lstat(join(repo.gitDir, 'index.lock')).then(() => true, () => false);
  if (isLocked) throw indexBusy(repo);
}

async function apply(scratch: Scratch, { git, work }: { readonly git: Git; readonly work: Pick<KeptWork, 'vm' | 'ids'> }): Promise<Applied> {
  const { merged, left } = await withoutSubmodules(scratch, await mergeWork(scratch, work));
  const same = await findSame(scratch, await changesOf(scratch.git, merged.ours, merged.result));
  const ours = same.length === 0 ? merged.ours : await addSame(scratch, same);
  const changes = await changesOf(scratch.git, ours, merged.result);
  await requireSpace(scratch, changes);
  await writeResult(scratch, git, { from: ours, to: merged.result, changes, off: await filtersOff(scratch), stages: merged.stages });
  const count = (is: (change: Change) => boolean): number => changes.filter(is).length;
  return {
    applied: changes.length, added: count(({ oldMode }) => oldMode === '000000'), deleted: count(({ mode }) => mode === '000000'),
    conflicts: [...new Set(merged.stages.map(({ path }) => path))].toSorted(),
    notices: [...attributesNotice(changes), ...left.map((path) => `the submodule ${escapeName(path)} is left as it is; the guest has it at another commit`)],
  };
}

/** All of it, or nothing. */
async function writeResult(scratch: Scratch, git: Git, { stages, ...move }: Plan & { readonly stages: readonly Stage[] }): Promise<void> {
  const index = await lockIndex(scratch, git, { stages, off: move.off });
  try {
    const ready = await rehearse(scratch, move);
    await copyOriginals(scratch, move.changes);
    await undoing(scratch, move.changes, async () => {
      await moveFiles(scratch, ready);
      await index.commit();
    });
  } finally {
    await index.release();
  }
}

function attributesNotice(changes: readonly Change[]): string[] {
  const paths = changes.map(({ path }) => path).filter(isAttributes).map(escapeName);
  if (paths.length === 0) return [];
  const more = paths.length > 3 ? ` and ${paths.length - 3} more` : '';
  return [`the work changes ${paths.slice(0, 3).join(', ')}${more}: no filter was chosen by that, but your git goes by it from now on`];
}

/** From here on they count as the host's own. */
async function addSame({ git }: Scratch, paths: readonly string[]): Promise<string> {
  await git.run(['update-index', '--add', '-z', '--stdin'], { input: paths.map((path) => `${path}\0`).join('') });
  return (await git.run(['write-tree'])).stdout.trim();
}
