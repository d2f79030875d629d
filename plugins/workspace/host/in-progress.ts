// States between two commits, which mean nothing outside of the repository they are in.
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { BangerError } from '../../../core/plugin-api.ts';
import type { Repository } from './repository.ts';

interface State { readonly file: string; readonly what: string; readonly hint: string }

const finish = (command: string): string => `finish it, or undo it with: git ${command} --abort`;
/** In this order: a rebase stops with a CHERRY_PICK_HEAD too. */
const states: readonly State[] = [
  { file: 'rebase-merge', what: 'A rebase', hint: finish('rebase') },
  { file: 'rebase-apply/applying', what: 'A git am', hint: finish('am') },
  { file: 'rebase-apply', what: 'A rebase', hint: finish('rebase') },
  { file: 'MERGE_HEAD', what: 'A merge', hint: finish('merge') },
  { file: 'CHERRY_PICK_HEAD', what: 'A cherry-pick', hint: finish('cherry-pick') },
  { file: 'REVERT_HEAD', what: 'A revert', hint: finish('revert') },
  { file: 'sequencer', what: 'A cherry-pick or revert of several commits', hint: 'finish it, or undo it with: git cherry-pick --abort (or git revert --abort)' },
];

/** @throws workspace.in_progress */
export async function requireNothingInProgress(repo: Repository): Promise<void> {
  for (const state of states) {
    if (await exists(join(repo.gitDir, state.file))) throw inProgress(`${state.what} is in progress in ${repo.root}`, state.hint);
  }
}

export const unmerged = (repo: Repository, path: string): BangerError =>
  inProgress(`The index of ${repo.root} has unmerged files (${path})`, 'resolve the conflicts and git add the files');

const inProgress = (message: string, hint: string): BangerError => new BangerError('workspace.in_progress', message, { hint });

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(() => true, (error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return false;
    throw error;
  });
}
