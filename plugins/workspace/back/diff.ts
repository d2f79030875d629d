// The words for git that show kept work.
import type { KeptWork } from './list.ts';

export interface DiffOptions {
  /** A line a file. */
  readonly stat?: boolean;
  /** Names alone. */
  readonly nameOnly?: boolean;
}

/**
 * Arguments of a `git` that the CLI runs in the repository on its own terminal: colours and pager are the person's. What differs between what went in
 * and the guest's working tree; no program that a configuration names takes part, because the files are a guest's.
 */
export function diffArgs(work: Pick<KeptWork, 'ids'>, options: DiffOptions = {}): string[] {
  return [
    'diff', '--no-ext-diff', '--no-textconv', '--submodule=short',
    ...(options.stat === true ? ['--stat'] : []), ...(options.nameOnly === true ? ['--name-only'] : []),
    work.ids.base, work.ids.worktree, '--',
  ];
}
