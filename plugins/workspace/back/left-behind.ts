// Repositories inside the guest's working tree: the tree names their commits, but nothing of theirs comes along.
import type { WorkspacePullResult } from '../../../core/api.ts';
import type { Exec } from '../../../core/plugin-api.ts';
import { splitNul } from '../host/bytes.ts';
import { escapeName } from '../host/escape.ts';
import { createGit } from '../host/git.ts';
import type { Repository } from '../host/repository.ts';
import { boundedGit, shortAnswers } from './limits.ts';

export interface LeftBehindInput {
  readonly refs: WorkspacePullResult['refs'];
  /** What the pull's script told of repositories that the tree cannot show: edited submodules, nested repositories without commits. Safe to show. */
  readonly said: readonly string[];
  readonly signal: AbortSignal;
}

const shown = 100;

/** Their paths, safe to show, 100 at most: submodules at another commit than was sent, or edited, and repositories that are new. */
export async function findLeftBehind(exec: Pick<Exec, 'run'>, repo: Repository, { refs, said, signal }: LeftBehindInput): Promise<readonly string[]> {
  const git = boundedGit(createGit(shortAnswers(exec), repo.root, { signal }));
  const { stdout } = await git.run(['diff-tree', '-r', '-z', '--raw', '--no-renames', refs.base, refs.worktree]);
  const paths = new Set<string>();
  // `:<mode> <mode> <id> <id> <status>` and the path, in turns.
  let header: string | undefined;
  for (const word of splitNul(stdout)) {
    if (header === undefined) {
      header = word;
      continue;
    }
    if (/^:\d{6} 160000 /.test(header) && paths.size < shown) paths.add(escapeName(word));
    header = undefined;
  }
  for (const line of said) {
    const path = /^banger-submodule (.+)$/.exec(line)?.[1] ?? /^error: '(.+?)\/?' does not have a commit checked out$/.exec(line)?.[1];
    if (path !== undefined && paths.size < shown) paths.add(path);
  }
  return [...paths].toSorted();
}
