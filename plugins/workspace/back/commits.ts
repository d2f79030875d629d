// Commits that stand for what went into a guest and what came out. They are made on the host.
import type { Git } from '../host/git.ts';
import type { GuestWork } from './import.ts';
import type { ByKind } from './names.ts';

export interface Counts {
  /** Commits of the guest that the host's repository did not have. */
  readonly commits: number;
  /** Files that differ between what was sent and the working tree of the guest. */
  readonly changedFiles: number;
}

/** Nobody's name: a person did not make them. */
export const identity: Readonly<Record<string, string>> = {
  GIT_AUTHOR_NAME: 'banger', GIT_AUTHOR_EMAIL: 'banger@localhost', GIT_COMMITTER_NAME: 'banger', GIT_COMMITTER_EMAIL: 'banger@localhost',
};

const plural = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;

/** The subject of the worktree's commit tells the counts, so that a list needs no look at the trees. */
export function subjectCounts(subject: string): Counts | undefined {
  const match = /^Work of \S+: (\d{1,10}) commits?, (\d{1,10}) changed files?$/.exec(subject);
  return match === null ? undefined : { commits: Number(match[1]), changedFiles: Number(match[2]) };
}

/** Makes the commits of an operation and gives their ids. */
export async function commitWork(git: Git, work: GuestWork, counts: Counts): Promise<ByKind> {
  const { vm, operation, head, base } = work;
  const env = { ...identity, ...dates(new Date()) };
  const commit = async (tree: string, parent: string | undefined, subject: string): Promise<string> => {
    const { stdout } = await git.run(['commit-tree', ...(parent === undefined ? [] : ['-p', parent]), tree], { env, input: `${subject}\n\nOperation: ${operation}\n` });
    return stdout.trim();
  };
  return {
    base: await commit(base.tree, base.commit, `What went into ${vm}`),
    ...(head === undefined ? {} : { head }),
    ...(work.indexTree === undefined ? {} : { index: await commit(work.indexTree, head, `Index of ${vm}`) }),
    worktree: await commit(work.worktreeTree, head, `Work of ${vm}: ${plural(counts.commits, 'commit')}, ${plural(counts.changedFiles, 'changed file')}`),
  };
}

/** Author and committer date, in UTC, because the time zone is nobody's either. */
export function dates(when: Date): Record<string, string> {
  const text = `${Math.floor(when.getTime() / 1000)} +0000`;
  return { GIT_AUTHOR_DATE: text, GIT_COMMITTER_DATE: text };
}
