// The git directory of one repository, or submodule, as the guest is to have it.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fromBytes, toBytes } from './bytes.ts';
import { readConfig } from './git-config.ts';
import type { GitConfig } from './git-config.ts';
import { gitStderr } from './git.ts';
import type { Git } from './git.ts';
import { guestConfig, readInfo } from './guest-config.ts';
import { shallowHistory, wholeHistory } from './history.ts';
import type { History } from './history.ts';
import { explainMissing } from './missing.ts';
import { writePack } from './pack.ts';
import type { Repository } from './repository.ts';
import { allRefs, upstreamRef } from './staged-refs.ts';
import type { Ref } from './staged-refs.ts';
import type { TreeWriter } from './tree-writer.ts';
import type { Have, HostPlan, Submodule } from './types.ts';

export interface PartJob {
  readonly git: Git;
  readonly plan: HostPlan;
  readonly repo: Repository;
  /** Absent: the outermost repository. */
  readonly submodule?: Submodule | undefined;
  readonly headCommit?: string | undefined;
  readonly headBranch?: string | undefined;
  /** Root of what is staged. */
  readonly root: string;
  readonly writer: TreeWriter;
  /** Where the host's objects are, and those made while staging. */
  readonly stores: readonly string[];
  /** Tree of the index, and objects that only the index leads to. */
  readonly indexObjects: readonly string[];
  /** Below the part's own root: directories that have to be there though nothing of them is sent. */
  readonly emptyDirs: readonly string[];
  readonly before: Have | undefined;
}
/** Paths below the root, latin1, by when they must land. */
export interface PartFiles { readonly objects: readonly string[]; readonly settings: readonly string[]; readonly refs: readonly string[]; readonly head: string }
export interface StagedPart { readonly files: PartFiles; readonly control: readonly string[]; readonly have: Have }

/** Path of the git directory below the root; latin1. */
export const gitPathOf = (submodule: Submodule | undefined): string => submodule?.gitPath ?? '.git';
/** The same as an ordinary string; submodules whose names are not UTF-8 are not carried. */
export const gitDirOf = (root: string, submodule: Submodule | undefined): string => join(root, fromBytes(gitPathOf(submodule)) ?? '');

/** Writes all of the git directory but its index. */
export async function stagePart(job: PartJob): Promise<StagedPart> {
  const config = await readConfig(job.git);
  const gitPath = gitPathOf(job.submodule);
  const known = await refsOf(job);
  const history = await historyOf(job, known).catch((error: unknown) => { throw explainMissing(error, job.repo, gitStderr(error)); });
  const upstream = job.headBranch === undefined || job.headBranch !== job.repo.head.branch ? undefined : await upstreamRef(job.git, config, job.headBranch);
  const refs = [...known, ...(upstream !== undefined && history.commits?.has(upstream.id) ? [upstream] : [])];
  const objectsDir = join(gitDirOf(job.root, job.submodule), 'objects');
  await mkdir(objectsDir, { recursive: true });
  const packs = await writePack(job.git, { objectsDir, stores: job.stores, history, also: job.indexObjects })
    .catch((error: unknown) => { throw explainMissing(error, job.repo, gitStderr(error)); });
  const settings = await writeSettings(job, config, history);
  const head = `${gitPath}/HEAD`;
  await job.writer.write(head, job.headBranch === undefined ? `${job.headCommit}\n` : `ref: refs/heads/${toBytes(job.headBranch)}\n`);
  const branch = job.headBranch === undefined || job.headCommit === undefined ? [] : [`${gitPath}/refs/heads/${toBytes(job.headBranch)}`];
  return {
    files: { objects: [...await makeDirs(job), ...packs.map((file) => `${gitPath}/objects/${file}`)], settings: [...settings, ...await makePlaces(job)], refs: await writeRefs(job, refs), head },
    control: [head, ...branch], have: history.have,
  };
}

/** After `refs/heads` and `refs/remotes` in git's order: `git describe --all` names a commit by the first ref that it finds. */
const sentRef = (commit: string): string => `refs/sent/${commit.slice(0, 16)}`;

/** The branch at its commit, and with a whole copy all others. */
async function refsOf({ git, plan, headCommit, headBranch }: PartJob): Promise<readonly Ref[]> {
  const all = plan.options.mode === 'full_copy' ? await allRefs(git) : [];
  if (headCommit === undefined) return all;
  // What was sent stays, whatever the guest does to its branches: the next prepare counts on it.
  const own: Ref[] = [{ name: sentRef(headCommit), id: headCommit }];
  if (headBranch !== undefined) own.unshift({ name: `refs/heads/${toBytes(headBranch)}`, id: headCommit });
  return [...all.filter((ref) => own.every(({ name }) => name !== ref.name)), ...own];
}

function historyOf({ git, repo, plan, headCommit, before }: PartJob, refs: readonly Ref[]): Promise<History> {
  if (plan.options.mode === 'full_copy') return wholeHistory(git, repo, [...new Set(refs.map(({ id }) => id))], before);
  return shallowHistory(git, repo, headCommit, before);
}

async function writeRefs({ writer, submodule }: PartJob, refs: readonly Ref[]): Promise<readonly string[]> {
  const gitPath = gitPathOf(submodule);
  for (const ref of refs) await writer.write(`${gitPath}/${ref.name}`, ref.symbolic === undefined ? `${ref.id}\n` : `ref: ${ref.symbolic}\n`);
  return refs.map(({ name }) => `${gitPath}/${name}`);
}

/** Git takes a directory without these for no repository, and they may be empty. */
async function makeDirs({ writer, submodule }: PartJob): Promise<readonly string[]> {
  const dirs = ['objects/pack', 'refs/heads', 'refs/tags'].map((dir) => `${gitPathOf(submodule)}/${dir}`);
  for (const dir of dirs) await writer.dir(dir);
  return dirs;
}

/** Submodules that are not checked out are directories, or git takes them for deleted. */
async function makePlaces({ writer, submodule, emptyDirs }: PartJob): Promise<readonly string[]> {
  const paths = emptyDirs.map((path) => (submodule === undefined ? path : `${submodule.path}/${path}`));
  for (const path of paths) await writer.dir(path);
  return paths;
}

async function writeSettings(job: PartJob, config: GitConfig, history: History): Promise<readonly string[]> {
  const { plan, repo, submodule, writer } = job;
  const gitPath = gitPathOf(submodule);
  const info = await readInfo(job.git, repo, config);
  const isSparse = info.sparseCheckout !== undefined && !plan.needsCheckout;
  const files = new Map<string, string>();
  if (history.shallow.length > 0 || (job.before?.shallow.length ?? 0) > 0) files.set(`${gitPath}/shallow`, history.shallow.map((id) => `${id}\n`).join(''));
  files.set(`${gitPath}/info/exclude`, info.exclude);
  files.set(`${gitPath}/info/attributes`, info.attributes);
  if (info.globalAttributes !== '') files.set(`${gitPath}/info/global-attributes`, info.globalAttributes);
  if (isSparse) files.set(`${gitPath}/info/sparse-checkout`, info.sparseCheckout);
  const inner = plan.submodules.filter(({ parent }) => parent === (submodule?.path ?? ''));
  files.set(`${gitPath}/config`, guestConfig({
    repo, config, isSparse, branch: job.headBranch === repo.head.branch ? job.headBranch : undefined, submodules: inner.map(({ name }) => name),
    ...(submodule === undefined ? {} : { worktree: `${upFrom(gitPath)}${submodule.path}` }),
    ...(info.globalAttributes === '' ? {} : { attributesFile: `${toBytes(plan.guestPath)}/${gitPath}/info/global-attributes` }),
  }));
  if (submodule !== undefined) files.set(`${submodule.path}/.git`, `gitdir: ${upFrom(submodule.path)}${gitPath}\n`);
  for (const [path, content] of files) await writer.write(path, content);
  return [...files.keys()];
}

/** From a directory back to the root. */
const upFrom = (path: string): string => '../'.repeat(path.split('/').length);
