// Refs of the guest's repository.
import { fromBytes, toBytes } from './bytes.ts';
import { upstreamOf } from './guest-config.ts';
import type { Git } from './git.ts';
import type { GitConfig } from './git-config.ts';

export interface Ref {
  /** Full name; latin1. */
  readonly name: string;
  readonly id: string;
  /** Full name of the ref that it stands for; latin1. */
  readonly symbolic?: string;
}

/** All branches, tags and remote branches. */
export async function allRefs(git: Git): Promise<readonly Ref[]> {
  const { stdout } = await git.run(['for-each-ref', '--format=%(refname)%00%(objectname)%00%(symref)', 'refs/heads', 'refs/tags', 'refs/remotes']);
  return stdout.split('\n').flatMap((line) => {
    const [name, id, symbolic] = line.split('\0');
    if (!name || !id) return [];
    return [{ name, id, ...(symbolic ? { symbolic } : {}) }];
  });
}

/** The remote branch that a branch follows, when the host knows where it is. */
export async function upstreamRef(git: Git, config: GitConfig, branch: string): Promise<Ref | undefined> {
  const merge = fromBytes(upstreamOf(config, branch).merge ?? '');
  if (!merge) return undefined;
  const name = `refs/remotes/origin/${merge.slice('refs/heads/'.length)}`;
  const { stdout, exitCode } = await git.run(['rev-parse', '-q', '--verify', name], { okCodes: [0, 1, 128] });
  return exitCode === 0 ? { name: toBytes(name), id: stdout.trim() } : undefined;
}
