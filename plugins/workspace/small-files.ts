// The small files of a staged repository, refs and settings: those that the guest was sent before as they are stay as it has them now.
import { createHash } from 'node:crypto';
import { lstat, readFile } from 'node:fs/promises';
import { onDisk, toBytes } from './host/bytes.ts';
import type { Staged } from './host/stage.ts';

export interface StagedSmallFiles {
  /** By path (latin1): what a ref names, a hash of other files. */
  readonly values: Readonly<Record<string, string>>;
  /** Paths of `Staged.git` to send. */
  readonly git: readonly string[];
  /** Full names of the branches among them (latin1). */
  readonly branches: readonly string[];
}

const ref = /^\.git\/(?:modules\/.+\/)?(refs\/(?:heads|tags|remotes)\/.+)$/s;
const settings = /^\.git\/(?:modules\/.+\/)?(?:config|shallow|info\/[^/]+)$/s;

/** `before`: values that were sent the last time. HEAD's branch is always sent. */
export async function readSmallFiles(staged: Staged, before: Readonly<Record<string, string>> | undefined): Promise<StagedSmallFiles> {
  const values: Record<string, string> = {};
  const skipped = new Set<string>();
  const headRef = staged.headBranch === undefined ? undefined : `.git/refs/heads/${toBytes(staged.headBranch)}`;
  for (const path of staged.git) {
    const isRef = ref.test(path);
    if (!isRef && !settings.test(path)) continue;
    const file = onDisk(staged.bases[0]!, path);
    if (!(await lstat(file)).isFile()) continue;
    const content = await readFile(file, 'latin1');
    values[path] = isRef ? content.trim() : createHash('sha256').update(content, 'latin1').digest('hex');
    if (path !== headRef && before?.[path] === values[path]) skipped.add(path);
  }
  const git = staged.git.filter((path) => !skipped.has(path));
  return { values, git, branches: git.flatMap((path) => (path.startsWith('.git/refs/heads/') && values[path] !== undefined ? [path.slice('.git/'.length)] : [])) };
}
