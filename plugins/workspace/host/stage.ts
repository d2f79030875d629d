// Makes what a plan said: git directories with packs, index and refs, and the list of files as they are now. The host's repository is read only;
// new objects and indexes are made in directories of ours.
import { mkdir, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { Exec } from '../../../core/plugin-api.ts';
import { baseEntries } from './base-tree.ts';
import { escapeName } from './escape.ts';
import { readFilters } from './filters.ts';
import type { Filters } from './filters.ts';
import { readConfig } from './git-config.ts';
import { createGit } from './git.ts';
import type { Git } from './git.ts';
import { unmerged } from './in-progress.ts';
import { directories, lookAt, merged, readIndex, readUntracked } from './listing.ts';
import type { IndexEntries } from './listing.ts';
import { objectStores } from './odb.ts';
import type { Repository } from './repository.ts';
import { gitDirOf, gitPathOf, stagePart } from './stage-part.ts';
import type { StagedPart } from './stage-part.ts';
import { checkOut, copyIndex, makeOlder } from './staged-index.ts';
import type { TreeEntry } from './trees.ts';
import { keepTrees, makeTrees, objectId } from './trees.ts';
import { createTreeWriter } from './tree-writer.ts';
import type { TreeWriter } from './tree-writer.ts';
import type { StageInput, Staged, StagedSubmodule, Submodule, WorkFile } from './types.ts';

export type { Have, StageInput, Staged, StagedSubmodule } from './types.ts';

export interface StageCall {
  readonly signal?: AbortSignal | undefined;
  /** See `ExecOptions`. */
  readonly mark?: string | undefined;
  onStage?(name: string, detail?: string): void;
}

/**
 * @throws workspace.in_progress: a merge began meanwhile; unsupported: a partial clone without the objects; operation_failed; timeout; cancelled
 */
export async function stageWorkspace(exec: Pick<Exec, 'run'>, input: StageInput, call: StageCall = {}): Promise<Staged> {
  return new Stage(exec, input, call).run();
}

interface Part { readonly repo: Repository; readonly submodule?: Submodule }
interface Made { readonly part: StagedPart; readonly files: readonly WorkFile[]; readonly index: string; readonly indexDigest: string; readonly submodule?: Submodule }

class Stage {
  readonly #exec: Pick<Exec, 'run'>;
  readonly #input: StageInput;
  readonly #call: StageCall;
  readonly #root: string;
  readonly #workRoot: string;
  readonly #writer: TreeWriter;
  #baseTree = '';

  constructor(exec: Pick<Exec, 'run'>, input: StageInput, call: StageCall) {
    this.#exec = exec;
    this.#input = input;
    this.#call = call;
    this.#root = join(input.dir, 'tree');
    this.#workRoot = input.plan.needsCheckout ? join(input.dir, 'checkout') : input.plan.repo.root;
    this.#writer = createTreeWriter(this.#root);
  }

  async run(): Promise<Staged> {
    const { plan, objectsDir } = this.#input;
    await Promise.all([mkdir(objectsDir, { recursive: true }), mkdir(this.#root, { recursive: true }), mkdir(this.#workRoot, { recursive: true })]);
    const made: Made[] = [];
    const have: Record<string, Staged['have'][string]> = {};
    let files: readonly WorkFile[] = [];
    for (const part of [{ repo: plan.repo }, ...plan.submodules.map((submodule) => ({ repo: submodule.repo, submodule }))] as const satisfies readonly Part[]) {
      const done = await this.#stage(part);
      made.push(done);
      have['submodule' in part ? part.submodule.path : ''] = done.part.have;
      files = await merged(files, done.files, (file) => file.path);
    }
    const all = made.map(({ part }) => part.files);
    return {
      bases: [this.#root, this.#workRoot], files, have, indexDigest: made[0]!.indexDigest, baseTree: this.#baseTree, notices: [],
      git: [
        ...all.flatMap((part) => part.objects), ...all.flatMap((part) => part.settings), ...made.map(({ index }) => index),
        ...all.flatMap((part) => part.refs), ...all.map((part) => part.head),
      ],
      control: made[0]!.part.control, submodules: made.flatMap(stagedSubmodule),
      ...(plan.headCommit === undefined ? {} : { headCommit: plan.headCommit }), ...(plan.headBranch === undefined ? {} : { headBranch: plan.headBranch }),
    };
  }

  async #stage({ repo, submodule }: Part): Promise<Made> {
    const { plan, dir, objectsDir, have } = this.#input;
    this.#call.onStage?.('index', submodule === undefined ? undefined : escapeName(submodule.path));
    const git = createGit(this.#exec, repo.root, this.#call);
    const filters = readFilters(await readConfig(git));
    const newObjects = submodule === undefined ? objectsDir : join(dir, 'objects', String(plan.submodules.indexOf(submodule)));
    await Promise.all([mkdir(newObjects, { recursive: true }), mkdir(gitDirOf(this.#root, submodule), { recursive: true })]);
    const stores = await objectStores(repo);
    const index = join(gitDirOf(this.#root, submodule), 'index');
    const job = { git, repo, file: index, filters };
    if (plan.needsCheckout && plan.headCommit !== undefined) await checkOut(job, plan.headCommit, this.#workRoot);
    else await copyIndex(job);
    const listed = await this.#list({ git, index, submodule, filters });
    const tree = await this.#keep(git, listed.entries.entries, { repo, objectsDir: newObjects });
    this.#call.onStage?.('pack', submodule === undefined ? undefined : escapeName(submodule.path));
    const head = submodule === undefined ? { headCommit: plan.headCommit, headBranch: plan.headBranch } : { headCommit: repo.head.commit, headBranch: repo.head.branch };
    const empty = listed.entries.emptyBlob === undefined ? [] : await existing(git, [listed.entries.emptyBlob]);
    const [part] = await both(
      stagePart({
        git, plan, repo, submodule, ...head, root: this.#root, writer: this.#writer, stores: [newObjects, ...stores],
        indexObjects: [tree, ...empty], emptyDirs: this.#emptyDirs(listed.entries, submodule), before: have?.[submodule?.path ?? ''],
      }),
      submodule === undefined ? this.#tell({ git, index, tree, ...listed, filters }) : undefined,
    );
    // Where the guest lacks the filters, a comparison of contents would find every filtered file changed.
    if (!filters.any) await makeOlder(index);
    return { part, files: listed.files, index: `${gitPathOf(submodule)}/index`, indexDigest: await digestOf(git, repo, index), ...(submodule === undefined ? {} : { submodule }) };
  }

  /** Submodules that are not carried, and are directories on the host. */
  #emptyDirs({ gitlinks }: IndexEntries, submodule: Submodule | undefined): readonly string[] {
    const carried = new Set(this.#input.plan.submodules.map(({ path }) => path));
    const prefix = submodule === undefined ? '' : `${submodule.path}/`;
    return directories(submodule?.repo.root ?? this.#workRoot, gitlinks.filter((path) => !carried.has(prefix + path)));
  }

  /** Files as they are after the index was refreshed: one that changes later is seen by its stamp. */
  async #list({ git, index, submodule, filters }: {
    readonly git: Git; readonly index: string; readonly submodule: Submodule | undefined; readonly filters: Filters;
  }): Promise<{ readonly entries: IndexEntries; readonly files: readonly WorkFile[]; readonly untracked: readonly string[] }> {
    const { plan } = this.#input;
    const { signal } = this.#call;
    const entries = await readIndex(git, { signal, env: { GIT_INDEX_FILE: index } });
    const repo = submodule?.repo ?? plan.repo;
    if (entries.unmerged !== undefined) throw unmerged(repo, escapeName(entries.unmerged));
    if (plan.options.mode === 'metadata') return { entries, files: [], untracked: [] };
    const look = { prefix: submodule === undefined ? '' : `${submodule.path}/`, signal };
    const root = submodule === undefined ? this.#workRoot : repo.root;
    const tracked = (await lookAt(root, entries.tracked, look)).files;
    if (filters.any) await outdate(index, tracked);
    if (!plan.options.includeUntracked || plan.needsCheckout) return { entries, files: tracked, untracked: [] };
    const { paths } = await readUntracked(git, { signal });
    const others = (await lookAt(root, paths, look)).files;
    return { entries, files: await merged(tracked, others, (file) => file.path), untracked: others.map(({ path }) => path) };
  }

  /** What the host remembers of the outermost repository. */
  async #tell({ git, index, tree, entries, untracked, filters }: {
    readonly git: Git; readonly index: string; readonly tree: string; readonly entries: IndexEntries; readonly untracked: readonly string[]; readonly filters: Filters;
  }): Promise<void> {
    const { plan, dir, objectsDir } = this.#input;
    const { repo } = plan;
    if (plan.needsCheckout && plan.options.mode !== 'metadata') {
      this.#baseTree = tree;
      return;
    }
    // With metadata nothing is sent.
    const base = plan.options.mode === 'metadata' ? [] : await baseEntries({
      git, index, entries: entries.entries, temp: join(dir, 'base-index'), objectsDir, filtersOff: filters.off, untracked, signal: this.#call.signal,
    });
    this.#baseTree = await this.#keep(git, base, { repo, objectsDir });
  }

  async #keep(git: Git, entries: readonly TreeEntry[], { repo, objectsDir }: { readonly repo: Repository; readonly objectsDir: string }): Promise<string> {
    const { root, trees } = await makeTrees(entries, repo.objectFormat, this.#call.signal);
    await keepTrees(git, trees, objectsDir);
    return root;
  }
}

function stagedSubmodule({ submodule, part, index, indexDigest }: Made): readonly StagedSubmodule[] {
  if (submodule === undefined) return [];
  const { path, gitPath, repo } = submodule;
  const { commit, branch } = repo.head;
  return [{
    path, gitPath, repo, indexDigest, control: [...part.control, index], ...(commit === undefined ? {} : { headCommit: commit }), ...(branch === undefined ? {} : { headBranch: branch }),
  }];
}

/** What `git ls-files -s -z | git hash-object --stdin` says of an index. */
async function digestOf(git: Git, repo: Repository, index: string): Promise<string> {
  const { stdout } = await git.run(['ls-files', '-s', '-z'], { env: { GIT_INDEX_FILE: index } });
  return objectId('blob', Buffer.from(stdout, 'latin1'), repo.objectFormat);
}

/** Both results; neither goes on when this has failed. */
async function both<A, B>(a: Promise<A>, b: Promise<B> | undefined): Promise<[A, B | undefined]> {
  await Promise.allSettled([a, b]);
  return [await a, await b];
}

async function existing(git: Git, ids: readonly string[]): Promise<readonly string[]> {
  const { stdout } = await git.run(['cat-file', '--batch-check=%(objectname)'], { input: ids.map((id) => `${id}\n`).join('') });
  return stdout.split('\n').filter((line) => ids.includes(line));
}

/**
 * A file written in the index's own second counts as possibly changed since, and git compares its content; the guest has not the filters for that.
 * So the index becomes a second younger than such files.
 */
async function outdate(index: string, files: readonly WorkFile[]): Promise<void> {
  const { mtimeMs } = await stat(index);
  const written = Math.floor(mtimeMs / 1000);
  const seconds = files.map((file) => Number(file.mtimeNs / 1_000_000_000n)).filter((second) => second >= written && second <= written + 2);
  if (seconds.length === 0) return;
  const younger = seconds.reduce((a, b) => Math.max(a, b)) + 1;
  await utimes(index, younger, younger);
}
