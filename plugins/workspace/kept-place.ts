// A place in the guest that another prepare filled, or none that is remembered: whether all that is there is safe elsewhere, so that a workspace may
// replace it. What cannot be proven is not.
import type { Exec } from '../../core/plugin-api.ts';
import { readGuestState } from './guest-git.ts';
import type { GuestGit, GuestPlace, Kept } from './guest-git.ts';
import { runScript } from './guest/script.ts';
import { everythingScript } from './guest/scripts.ts';
import { splitNul } from './host/bytes.ts';
import { createGit } from './host/git.ts';
import { storeEnv } from './host/odb.ts';
import type { Repository } from './host/repository.ts';
import type { WorkspaceRecord } from './schema.ts';

export interface KeptPlaceInput {
  readonly exec: Pick<Exec, 'run'>;
  /** Where the new workspace comes from. */
  readonly repo: Repository;
  readonly kept: Kept;
  /** Of the workspace that was prepared there, of whichever repository. */
  readonly record: WorkspaceRecord | undefined;
  /** Trees whose files are safe, each with the directory of the objects that the repository need not have. */
  readonly trees: readonly { readonly tree: string; readonly objectsDir: string }[];
  /** Indexes that are safe. */
  readonly indexDigests: readonly string[];
  readonly signal: AbortSignal;
}

/** What is before it is lines that begin otherwise. */
const filesLine = '\nfiles\n';
/** Some ten thousand branches, a hundred thousand files. */
const maxSaidBytes = 16 * 1024 * 1024;

/** False as well when the guest has no git, is no repository there, or has what cannot be compared: ignored files, stashes, hooks, submodules, other worktrees. */
export async function isAllKept(place: GuestPlace, input: KeptPlaceInput): Promise<boolean> {
  const { code, stdout } = await runScript(place, { script: everythingScript, args: [place.guestPath, place.opId], idleLimitMs: place.limitMs, maxStdoutBytes: maxSaidBytes });
  const end = stdout.indexOf(filesLine);
  if (code !== 0 || end === -1) return false;
  const git = readGuestState(stdout.toString('latin1', 0, end));
  return git !== undefined && await isHistoryKept(git, input) && areFilesKept(stdout.toString('latin1', end + filesLine.length), git, input);
}

async function isHistoryKept(git: GuestGit, { record, kept, indexDigests }: KeptPlaceInput): Promise<boolean> {
  const isSafe = async (commit: string): Promise<boolean> => Object.hasOwn(record?.have['']?.commits ?? {}, commit) || kept.head(commit);
  for (const [name, id] of git.refs) {
    if (name === 'refs/stash' || (record?.smallFiles[`.git/${name}`] !== id && !await isSafe(id))) return false;
  }
  if (git.head !== undefined && !await isSafe(git.head)) return false;
  return indexDigests.includes(git.indexDigest) || (git.indexTree !== undefined && (git.indexTree === git.headTree || kept.index(git.indexTree)));
}

/** `listed`: as `git ls-files -s -z` has them. */
async function areFilesKept(listed: string, git: GuestGit, { exec, repo, trees, kept, signal }: KeptPlaceInput): Promise<boolean> {
  const host = createGit(exec, repo.root, { signal });
  const safe = new Set<string>();
  // A commit that is safe has its files with it.
  for (const { tree, objectsDir } of [...trees, ...(git.headTree === undefined ? [] : [{ tree: git.headTree, objectsDir: trees[0]!.objectsDir }])]) {
    const { stdout } = await host.run(['ls-tree', '-r', '-z', '--full-tree', tree], { okCodes: [0, 128], env: storeEnv(`${repo.commonDir}/objects`, [objectsDir]) });
    for (const entry of splitNul(stdout)) safe.add(entry.replace(/^(\d+) \S+ /, '$1 '));
  }
  for (const entry of splitNul(listed)) {
    const match = /^(100644|100755|120000) ([0-9a-f]+) 0\t([^]+)$/.exec(entry);
    if (match === null) return false;
    const [, mode, id, path] = match as unknown as [string, string, string, string];
    if (!safe.has(`${mode} ${id}\t${path}`) && !await kept.path(path, id)) return false;
  }
  return true;
}
