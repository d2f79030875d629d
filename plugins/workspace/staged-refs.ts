// The refs of a staged repository: those that the guest has had already stay as it has them now.
import { lstat, readFile } from 'node:fs/promises';
import { onDisk } from './host/bytes.ts';
import type { Staged } from './host/stage.ts';

export interface StagedRefs {
  /** By full name (latin1): branches, tags, remotes' branches. */
  readonly values: Readonly<Record<string, string>>;
  /** Paths of `Staged.git` to send. */
  readonly git: readonly string[];
  /** Full names of the branches among them. */
  readonly branches: readonly string[];
}

/** `before`: values that were sent the last time. HEAD's branch is always sent. */
export async function readStagedRefs(staged: Staged, before: Readonly<Record<string, string>> | undefined): Promise<StagedRefs> {
  const values: Record<string, string> = {};
  const skipped = new Set<string>();
  const headRef = staged.headBranch === undefined ? undefined : `refs/heads/${Buffer.from(staged.headBranch, 'utf8').toString('latin1')}`;
  for (const path of staged.git) {
    const name = /^\.git\/(refs\/(?:heads|tags|remotes)\/.+)$/s.exec(path)?.[1];
    if (name === undefined) continue;
    const file = onDisk(staged.bases[0]!, path);
    if (!(await lstat(file)).isFile()) continue;
    values[name] = (await readFile(file, 'latin1')).trim();
    if (name !== headRef && before?.[name] === values[name]) skipped.add(path);
  }
  const git = staged.git.filter((path) => !skipped.has(path));
  const sent = new Set(git);
  return { values, git, branches: Object.keys(values).filter((name) => name.startsWith('refs/heads/') && sent.has(`.git/${name}`)) };
}
