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
  /** Full names of the branches among them (latin1), by git directory. */
  readonly branches: ReadonlyMap<string, readonly string[]>;
}

const ref = /^refs\/(?:heads|tags|remotes)\//;
const settings = /^(?:config|shallow|info\/[^/]+)$/s;

/** `before`: values that were sent the last time. Branches of HEADs are always sent. */
export async function readSmallFiles(staged: Staged, before: Readonly<Record<string, string>> | undefined): Promise<StagedSmallFiles> {
  const values: Record<string, string> = {};
  const skipped = new Set<string>();
  const parts = [{ gitPath: '.git', headBranch: staged.headBranch }, ...staged.submodules];
  const headRefs = new Set(parts.flatMap(({ gitPath, headBranch }) => (headBranch === undefined ? [] : [`${gitPath}/refs/heads/${toBytes(headBranch)}`])));
  // Inner ones first: theirs are below the outer one's, too.
  const gitPaths = parts.map(({ gitPath }) => gitPath).toSorted((a, b) => b.length - a.length);
  const branches = new Map<string, string[]>(gitPaths.map((gitPath) => [gitPath, []]));
  for (const path of staged.git) {
    const gitPath = gitPaths.find((each) => path.startsWith(`${each}/`));
    const name = gitPath === undefined ? '' : path.slice(gitPath.length + 1);
    const isRef = ref.test(name);
    if (!isRef && !settings.test(name)) continue;
    const file = onDisk(staged.bases[0]!, path);
    if (!(await lstat(file)).isFile()) continue;
    const content = await readFile(file, 'latin1');
    values[path] = isRef ? content.trim() : createHash('sha256').update(content, 'latin1').digest('hex');
    if (!headRefs.has(path) && before?.[path] === values[path]) skipped.add(path);
    else if (name.startsWith('refs/heads/')) branches.get(gitPath!)!.push(name);
  }
  return { values, git: staged.git.filter((path) => !skipped.has(path)), branches };
}
