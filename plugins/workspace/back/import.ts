// The guest's work arrives in the host's repository: new objects and new refs of our own, nothing else.
//
// The pack is hostile bytes. git indexes and checks it in a quarantine, as it does for a push with transfer.fsckObjects; what the work needs of it is
// packed anew by the host's git, verified, and moved in. Then one transaction makes the refs.
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { alreadyExists, BangerError } from '../../../core/plugin-api.ts';
import type { WorkspacePullResult } from '../../../core/api.ts';
import type { Exec } from '../../../core/plugin-api.ts';
import { splitNul } from '../host/bytes.ts';
import { createGit } from '../host/git.ts';
import type { Git } from '../host/git.ts';
import type { Repository } from '../host/repository.ts';
import { commitWork, subjectCounts } from './commits.ts';
import type { Counts } from './commits.ts';
import { alternates, boundedGit, durableArgs, judge, rejected, shortAnswers } from './limits.ts';
import { isObjectId, namespace, parseRef, refKinds, refPrefix } from './names.ts';
import type { ByKind, RefKind } from './names.ts';
import { closeQuarantine, madePacks, openQuarantine, publishPacks, quarantineDir, syncDir } from './quarantine.ts';
import type { Quarantine } from './quarantine.ts';
import { plainErrors } from './text.ts';

export { quarantineDir } from './quarantine.ts';

/** What a guest gave, and what it had got. Ids and pack are the guest's word. */
export interface GuestWork {
  /** Name of the VM. */
  readonly vm: string;
  readonly operation: string;
  /**
   * A pack on disk, absolute; only read. No object in it is a delta: `git -c core.bigFileThreshold=16m pack-objects --revs --stdout --window=0
   * --no-reuse-delta`. Deltas could make terabytes of a few bytes as soon as git packs them anew.
   */
  readonly packFile: string;
  /** Absent on an unborn branch. */
  readonly head?: string;
  /** Absent when the index is not merged. */
  readonly indexTree?: string;
  readonly worktreeTree: string;
  /** What was sent. `objectsDir` has objects that the host's repository lacks. */
  readonly base: { readonly commit?: string; readonly tree: string; readonly objectsDir: string };
  /** Limit of the pack. */
  readonly maxBytes: number;
}
export interface ImportCall { readonly signal: AbortSignal; readonly mark?: string }
export interface Imported extends Counts { readonly refs: WorkspacePullResult['refs'] }

interface Import {
  readonly repo: Repository;
  readonly work: GuestWork;
  /** Sees the host's repository only. */
  readonly host: Git;
  /** Sees the quarantine, what was sent, and the host's repository; writes to the quarantine. */
  readonly inside: Git;
  readonly quarantine: Quarantine;
}

/**
 * Brings the work in and names it with refs/banger/<vm>/<operation>/*. Working tree, index, branches, HEAD and reflogs of the host stay as they are.
 * An import that was killed may be done again with the same operation; one that is done already answers as it did.
 *
 * @throws workspace.rejected: git's checks fail, or objects are missing; workspace.too_large; not_found: the repository lacks what was sent;
 * already_exists: the operation has other work; bad_request; operation_failed; timeout; cancelled
 */
export async function importWork(exec: Pick<Exec, 'run'>, repo: Repository, work: GuestWork, call: ImportCall): Promise<Imported> {
  requireIds(repo, work);
  const host = plainErrors(createGit(shortAnswers(exec), repo.root, call));
  const dir = quarantineDir(repo, work.operation);
  try {
    const there = await existingRefs(host, work);
    const done = resume(work, there);
    if (done !== undefined) return done;
    await requireSize(work);
    const quarantine = await openQuarantine(dir, work.packFile);
    const inside = boundedGit(host, { GIT_OBJECT_DIRECTORY: dir, GIT_ALTERNATE_OBJECT_DIRECTORIES: alternates([join(repo.commonDir, 'objects'), work.base.objectsDir]) });
    const state: Import = { repo, work, host: boundedGit(host), inside, quarantine };
    const isPartial = await isPartialClone(host);
    await requireBase(state);
    await indexPack(state, isPartial);
    await requireNoDeltas(state);
    await requireTypes(state);
    const counts = await count(state);
    const ids = await commitWork(inside, work, counts);
    await requireConnected(state, ids, isPartial);
    await repack(state, ids, isPartial);
    // No cancelling in the midst of the refs: they are made, or they are not.
    const lasting = plainErrors(createGit(shortAnswers(exec), repo.root, { mark: call.mark }));
    const refs = await makeRefs({ ...state, host: boundedGit(lasting) }, { ids, there, isPartial });
    return { refs, ...counts };
  } finally {
    await closeQuarantine(dir);
  }
}

function requireIds(repo: Repository, { vm, operation, head, indexTree, worktreeTree }: GuestWork): void {
  refPrefix(vm, operation);
  for (const id of [head, indexTree, worktreeTree]) {
    if (id !== undefined && !isObjectId(repo, id)) throw rejected(vm, 'what it names is no object id of this repository');
  }
}

async function requireSize({ vm, packFile, maxBytes }: GuestWork): Promise<void> {
  const { size } = await stat(packFile);
  if (size > maxBytes) throw new BangerError('workspace.too_large', `The work in the guest of ${vm} is larger than ${Math.floor(maxBytes / 1_048_576)} MiB`);
}

interface Existing { readonly kind: RefKind; readonly name: string; readonly id: string; readonly tree: string; readonly parent: string; readonly subject: string }

async function existingRefs(host: Git, { vm, operation }: GuestWork): Promise<readonly Existing[]> {
  const format = '%(refname)%00%(objectname)%00%(tree)%00%(parent)%00%(contents:subject)';
  const { stdout } = await host.run(['for-each-ref', `--format=${format}`, refPrefix(vm, operation)]);
  return stdout.split('\n').filter((line) => line !== '').map((line) => {
    const [name = '', id = '', tree = '', parent = '', subject = ''] = line.split('\0');
    const kind = parseRef(name)?.kind;
    if (kind === undefined) throw alreadyExists('Ref', name);
    return { kind, name, id, tree, parent, subject };
  });
}

/** Refs of an earlier try are this work's, or the operation's name is taken. The answer, when they are all there. */
function resume(work: GuestWork, there: readonly Existing[]): Imported | undefined {
  const { vm, operation, head, base } = work;
  const trees: Readonly<Record<RefKind, string | undefined>> = { base: base.tree, head, index: work.indexTree, worktree: work.worktreeTree };
  for (const { kind, id, tree, parent } of there) {
    const isSame = kind === 'head' ? id === head : tree === trees[kind] && parent === ((kind === 'base' ? base.commit : head) ?? '');
    if (!isSame) throw alreadyExists('Kept work', `${vm} ${operation}`);
  }
  const counts = subjectCounts(there.find(({ kind }) => kind === 'worktree')?.subject ?? '');
  const isWhole = refKinds.every((kind) => trees[kind] === undefined || there.some((ref) => ref.kind === kind));
  return isWhole && counts !== undefined ? { refs: namesOf(work), ...counts } : undefined;
}

function namesOf({ vm, operation, head, indexTree }: GuestWork): ByKind {
  const prefix = refPrefix(vm, operation);
  return {
    base: `${prefix}base`, worktree: `${prefix}worktree`,
    ...(head === undefined ? {} : { head: `${prefix}head` }), ...(indexTree === undefined ? {} : { index: `${prefix}index` }),
  };
}

/** A clone that lacks objects which its remote has promised. */
async function isPartialClone(host: Git): Promise<boolean> {
  const { exitCode } = await host.run(['config', '--get-regexp', String.raw`^(extensions\.partialclone|remote\..*\.promisor)$`], { okCodes: [0, 1] });
  return exitCode === 0;
}

async function indexPack({ work, inside, quarantine }: Import, isPartial: boolean): Promise<void> {
  // `--strict` is `--fsck-objects` and a look at everything that is linked to, which in a partial clone need not be there.
  await judge(work.vm, inside.run([
    ...durableArgs, 'index-pack', isPartial ? '--fsck-objects' : '--strict', '--threads=1', `--max-input-size=${work.maxBytes}`, '-o', quarantine.index, quarantine.pack,
  ]));
}

async function requireNoDeltas({ work, inside }: Import): Promise<void> {
  const { stdout } = await judge(work.vm, inside.run(['cat-file', '--batch-all-objects', '--unordered', '--batch-check=%(deltabase)'], { env: { GIT_ALTERNATE_OBJECT_DIRECTORIES: '' } }));
  if (/[1-9a-f]/.test(stdout)) throw rejected(work.vm, 'its pack has deltas');
}

/** What of these has another type than it should, or is missing. */
async function findWrong(git: Git, wanted: readonly (readonly [id: string | undefined, type: string])[]): Promise<{ readonly id: string; readonly type: string; readonly is: string } | undefined> {
  const asked = wanted.flatMap(([id, type]) => (id === undefined ? [] : [{ id, type }]));
  const { stdout } = await git.run(['cat-file', '--batch-check=%(objecttype)'], { input: asked.map(({ id }) => `${id}\n`).join('') });
  const answers = stdout.split('\n');
  return asked.map((each, n) => ({ ...each, is: answers[n] ?? '' })).find(({ type, is }) => is !== type);
}

async function requireBase({ repo, work, inside }: Import): Promise<void> {
  const wrong = await findWrong(inside, [[work.base.commit, 'commit'], [work.base.tree, 'tree']]);
  if (wrong !== undefined) throw lacksBase(repo, wrong.id);
}

async function requireTypes({ work, inside }: Import): Promise<void> {
  const { vm, head, indexTree, worktreeTree } = work;
  const wrong = await judge(vm, findWrong(inside, [[head, 'commit'], [indexTree, 'tree'], [worktreeTree, 'tree']]));
  if (wrong === undefined) return;
  const { id, type, is } = wrong;
  throw rejected(vm, is === `${id} missing` ? `the ${type} ${id} is missing` : `${id} is a ${is}, not a ${type}`);
}

const lacksBase = (repo: Repository, id: string, cause?: unknown): BangerError =>
  new BangerError('not_found', `The repository ${repo.root} has not all of ${id}, which went into the guest`, { hint: 'the work can go where the workspace came from, or into a clone of it', cause });

/** `--not` these: what the host's repository keeps without us. */
const ownRefs = [`--exclude=${namespace}/*`, '--all'];

/** PATH_MAX of Linux. */
const maxPathBytes = 4096;

async function count({ work, inside }: Import): Promise<Counts> {
  const { vm, head, base, worktreeTree } = work;
  const known = base.commit === undefined ? [] : [base.commit];
  const commits = head === undefined ? 0 : Number((await judge(vm, inside.run(['rev-list', '--count', head, '--not', ...known, ...ownRefs, '--']))).stdout);
  const { stdout } = await judge(vm, inside.run(['diff-tree', '-r', '-z', '--name-only', '--no-renames', base.tree, worktreeTree]));
  let changedFiles = 0;
  for (const path of splitNul(stdout)) {
    if (path.length >= maxPathBytes) throw rejected(vm, 'it has a path that no file system takes');
    changedFiles += 1;
  }
  return { commits, changedFiles };
}

const connected = (git: Git, ids: readonly string[], not: { readonly refs: readonly string[]; readonly isPartial: boolean }): Promise<unknown> =>
  git.run(['rev-list', '--objects', '--quiet', ...(not.isPartial ? ['--exclude-promisor-objects'] : []), ...ids, '--not', ...not.refs, '--']);

const idsOf = (ids: ByKind): string[] => refKinds.flatMap((kind) => ids[kind] ?? []);

async function requireConnected({ repo, work, inside }: Import, ids: ByKind, isPartial: boolean): Promise<void> {
  const not = { refs: ['--all'], isPartial };
  // What went in first, by itself: its gaps are not the guest's.
  await connected(inside, [ids.base], not).catch((error: unknown) => {
    throw error instanceof BangerError && error.code === 'operation_failed' ? lacksBase(repo, work.base.commit ?? work.base.tree, error) : error;
  });
  await judge(work.vm, connected(inside, idsOf(ids), not));
}

/**
 * Packs what the refs will need and the host's refs do not have already, also when it lies in the host's repository: nobody else keeps that, and
 * housekeeping may be about to remove it. What else was in the guest's pack stays out. Deltas are left to housekeeping.
 */
async function repack(state: Import, ids: ByKind, isPartial: boolean): Promise<void> {
  const { repo, host, inside, quarantine } = state;
  const { stdout } = await host.run(['for-each-ref', '--format=%(objectname)']);
  const kept = new Set([...stdout.split('\n').filter((id) => id !== ''), ...(repo.head.commit === undefined ? [] : [repo.head.commit])]);
  await inside.run([
    ...durableArgs, '-c', 'pack.packSizeLimit=0', 'pack-objects', '--revs', '--quiet', '--delta-base-offset', '--window=0', ...(isPartial ? ['--exclude-promisor-objects'] : []), quarantine.out,
  ], { input: [...idsOf(ids), ...[...kept].map((id) => `^${id}`)].map((line) => `${line}\n`).join('') });
  // Reads and hashes every object once more: the VM may be deleted on the strength of this.
  for (const index of await madePacks(quarantine)) await inside.run(['verify-pack', index]);
  await publishPacks(quarantine, repo);
}

async function makeRefs({ repo, work, host }: Import, { ids, there, isPartial }: { readonly ids: ByKind; readonly there: readonly Existing[]; readonly isPartial: boolean }): Promise<ByKind> {
  const names = namesOf(work);
  // Without our own refs as a boundary: neither those of a try before, nor, below, the new ones.
  const not = { refs: [`--exclude=${refPrefix(work.vm, work.operation)}*`, '--all'], isPartial };
  await connected(host, idsOf(ids), not);
  await removeLocks(repo, work);
  const lines = refKinds.flatMap((kind) => {
    const [name, id] = [names[kind], ids[kind]];
    if (name === undefined || id === undefined) return [];
    const old = there.find((ref) => ref.kind === kind);
    return [old === undefined ? `create ${name} ${id}\n` : `update ${name} ${id} ${old.id}\n`];
  });
  await updateRefs(host, lines);
  const dir = join(repo.commonDir, refPrefix(work.vm, work.operation));
  for (const up of ['.', '..', '../..', '../../..']) await syncDir(join(dir, up));
  try {
    // Housekeeping that began before the refs were there has not seen them, and may have removed what they name.
    await connected(host, idsOf(ids), not);
  } catch (error) {
    await updateRefs(host, refKinds.flatMap((kind) => (names[kind] === undefined ? [] : [`delete ${names[kind]} ${ids[kind]}\n`])));
    throw error;
  }
  return names;
}

/** In one transaction, and without a reflog, whatever core.logAllRefUpdates says. */
async function updateRefs(host: Git, lines: readonly string[]): Promise<void> {
  await host.run([...durableArgs, '-c', 'core.logAllRefUpdates=false', 'update-ref', '--stdin'], { input: lines.join('') });
}

/** What a git that was killed in the midst of our transaction left. Nobody else makes refs of this operation. */
async function removeLocks({ commonDir }: Repository, { vm, operation }: GuestWork): Promise<void> {
  for (const kind of refKinds) await rm(join(commonDir, `${refPrefix(vm, operation)}${kind}.lock`), { force: true });
}
