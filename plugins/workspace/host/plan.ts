// What a prepare would put into a guest. Reads only; this is `--dry-run`.
import { BangerError } from '../../../core/plugin-api.ts';
import type { Exec } from '../../../core/plugin-api.ts';
import { fromBytes, splitNul, toBytes } from './bytes.ts';
import { escapeName } from './escape.ts';
import { createGit, gitStderr } from './git.ts';
import type { Git } from './git.ts';
import { defaultGuestPath, requireGuestPath } from './guest-path.ts';
import { lookAt, merged, readUntracked } from './listing.ts';
import { explainMissing } from './missing.ts';
import { openRepository } from './repository.ts';
import type { Repository } from './repository.ts';
import { collectParts } from './submodules.ts';
import type { Part } from './submodules.ts';
import { inTurns } from './turns.ts';
import type { HostPlan, PlanOptions, WorkFile } from './types.ts';

export type { HostPlan, PlanOptions, WorkFile } from './types.ts';

interface Call { readonly signal?: AbortSignal | undefined }

/**
 * @param path a directory in the repository
 * @throws bad_request: no such path, no repository, bare, unknown commit, refused branch or guest path; workspace.in_progress; unauthorized; missing_requirement;
 * unsupported: a partial clone without the objects; cancelled
 */
export async function planWorkspace(exec: Pick<Exec, 'run'>, path: string, options: PlanOptions, call: Call = {}): Promise<HostPlan> {
  if (options.from !== undefined && options.branch === undefined) throw refuse('from', '--from needs --branch', 'name the branch that begins there');
  const chosen = options.guestPath === undefined ? undefined : requireGuestPath(options.guestPath);
  const repo = await openRepository(exec, path, call);
  const git = createGit(exec, repo.root, call);
  const notices: string[] = [];
  const head = await goalOf(git, repo, options);
  const parts = await collectParts(exec, repo, { ...call, notices });
  const needsCheckout = head.headCommit !== repo.head.commit;
  const listed = await listFiles({ git, repo, parts, options, needsCheckout, notices, ...head, ...call });
  return {
    repo, options, guestPath: chosen ?? defaultGuestPath(repo.name), ...head, ...listed, notices, needsCheckout,
    submodules: needsCheckout ? [] : parts.flatMap(({ submodule }) => (submodule === undefined ? [] : [submodule])),
  };
}

/** Where the guest's HEAD is to be. */
async function goalOf(git: Git, repo: Repository, { branch, from }: PlanOptions): Promise<{ headCommit?: string; headBranch?: string }> {
  if (branch !== undefined) await requireBranchName(git, branch);
  const name = branch ?? repo.head.branch;
  const commit = from === undefined ? repo.head.commit : await resolveCommit(git, from);
  return { ...(commit === undefined ? {} : { headCommit: commit }), ...(name === undefined ? {} : { headBranch: name }) };
}

async function requireBranchName(git: Git, branch: string): Promise<void> {
  const { stdout, exitCode } = await git.run(['check-ref-format', '--branch', branch], { okCodes: [0, 1, 128] });
  // `@{-1}` and the like stand for another branch.
  if (exitCode !== 0 || fromBytes(stdout) !== `${branch}\n`) throw refuse('branch', `Git does not take ${JSON.stringify(branch)} as the name of a branch`);
}

async function resolveCommit(git: Git, from: string): Promise<string> {
  const { stdout, exitCode } = from.startsWith('-') || from.includes('\0') ? { stdout: '', exitCode: 1 }
    : await git.run(['rev-parse', '-q', '--verify', `${from}^{commit}`], { okCodes: [0, 1, 128] });
  if (exitCode !== 0) throw refuse('from', `The repository has no commit ${JSON.stringify(from)}`, 'git log --all --oneline lists those there are');
  return stdout.trim();
}

function refuse(path: string, message: string, hint?: string): BangerError {
  return new BangerError('bad_request', message, { hint, detail: { issues: [{ path, message }] } });
}

interface Task extends Call {
  readonly git: Git;
  readonly repo: Repository;
  readonly parts: readonly Part[];
  readonly options: PlanOptions;
  readonly needsCheckout: boolean;
  readonly notices: string[];
  readonly headCommit?: string;
}
type Listed = Pick<HostPlan, 'files' | 'untracked'>;

async function listFiles(task: Task): Promise<Listed> {
  const { options, notices } = task;
  if (task.needsCheckout) {
    notices.push(`The files are those of ${escapeName(toBytes(options.from ?? ''))}: uncommitted changes and untracked files stay on the host`);
    if (task.parts.length > 1) notices.push('Submodules stay empty: they are checked out for another commit on the host');
  }
  if (options.mode === 'metadata') return { files: [], untracked: [] };
  if (task.needsCheckout) return { files: await filesOfCommit(task), untracked: [] };
  let all: Listed = { files: [], untracked: [] };
  let unsent: number | undefined = 0;
  for (const part of task.parts) {
    const listed = await filesOfPart(part, task);
    all = {
      files: await merged(all.files, listed.files, (file) => file.path), untracked: await merged(all.untracked, listed.untracked, (path) => path),
    };
    unsent = unsent === undefined || listed.unsent === undefined ? undefined : unsent + listed.unsent;
  }
  if (unsent === undefined) notices.push('Untracked files are not sent, and there are too many to count; --include-untracked sends them');
  else if (unsent > 0) notices.push(`${unsent} untracked ${unsent === 1 ? 'file is' : 'files are'} not sent; --include-untracked sends ${unsent === 1 ? 'it' : 'them'}`);
  return all;
}

async function filesOfPart(part: Part, { options, notices, signal }: Task): Promise<Listed & { readonly unsent: number | undefined }> {
  const tracked = await lookAt(part.repo.root, part.entries.tracked, { prefix: part.prefix, signal });
  if (tracked.odd.length > 0) {
    notices.push(`Sockets, pipes and devices are not sent: ${tracked.odd.slice(0, 3).map(escapeName).join(', ')}${tracked.odd.length > 3 ? `, and ${tracked.odd.length - 3} more` : ''}`);
  }
  if (!options.includeUntracked) return { files: tracked.files, untracked: [], unsent: await countUntracked(part, signal) };
  const others = await readUntracked(part.git, { signal });
  // Git lists nothing but files and links among them.
  const more = await lookAt(part.repo.root, others.paths, { prefix: part.prefix, signal });
  for (const each of others.repositories) notices.push(`${escapeName(part.prefix + each)} is a repository of its own and is not sent`);
  return { files: await merged(tracked.files, more.files, (file) => file.path), untracked: more.files.map((file) => file.path), unsent: 0 };
}

/** Only for a notice: nobody waits longer for it. */
const countLimitMs = 20_000;

/** Undefined: it takes too long, or a directory cannot be read. */
async function countUntracked(part: Part, signal?: AbortSignal): Promise<number | undefined> {
  try {
    return (await readUntracked(part.git, { signal, timeoutMs: countLimitMs })).paths.length;
  } catch (error) {
    if (signal?.aborted) throw error;
    return undefined;
  }
}

/** Sizes are those of git's objects: conversions of line ends and filters have yet to come. */
async function filesOfCommit({ git, headCommit = '', repo, signal }: Task): Promise<readonly WorkFile[]> {
  const { stdout } = await git.run(['ls-tree', '-r', '-z', '-l', '--full-tree', headCommit])
    .catch((error: unknown) => { throw explainMissing(error, repo, gitStderr(error)); });
  const files: WorkFile[] = [];
  await inTurns(splitNul(stdout), (entry) => {
    const match = /^(\d+) blob [0-9a-f]+ +(\d+)\t(.+)$/s.exec(entry);
    if (match === null) return;
    const [, mode, size, path = ''] = match;
    files.push({ path, kind: mode === '120000' ? 'link' : 'file', mode: mode === '100755' ? 0o755 : 0o644, size: Number(size), mtimeNs: 0n, ctimeNs: 0n, ino: 0n });
  }, signal);
  return files;
}
