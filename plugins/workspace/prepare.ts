// vm.workspace.prepare: the host's repository goes into a VM, whole the first time and by its changes after that.
import { lstat, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { CallContext, JobContext, Vm } from '../../core/plugin-api.ts';
import type { WorkspacePrepareResult } from '../../core/api.ts';
import { keptIn } from './back/kept.ts';
import { miseFiles } from './bootstrap-plan.ts';
import { changesSince } from './changes.ts';
import type { Changes } from './changes.ts';
import { lockOptions, stateLimitMs } from './deps.ts';
import type { WorkspaceDeps } from './deps.ts';
import type { GuestPlace } from './guest-git.ts';
import { findCheckout, findLosses, linkPlace, placeTaken, wouldOverwrite } from './guest-state.ts';
import type { Losses, MovedHead } from './guest-state.ts';
import { dropRefScript, miseScript } from './guest/scripts.ts';
import { runScript } from './guest/script.ts';
import { checkTree, clearPaths, linkPath, makeDirs, removeFiles, wipeTree } from './guest/tree.ts';
import { onDisk, toBytes } from './host/bytes.ts';
import { escapeName } from './host/escape.ts';
import { planWorkspace } from './host/plan.ts';
import type { HostPlan } from './host/plan.ts';
import { stageWorkspace } from './host/stage.ts';
import type { Staged } from './host/stage.ts';
import type { Manifest, ManifestEntry } from './manifest.ts';
import { makeStaging, removeStaging } from './record.ts';
import type { Pending } from './record.ts';
import type { PrepareParams, Stamp, WorkspaceRecord } from './schema.ts';
import { sendParts } from './send.ts';
import { readSmallFiles } from './small-files.ts';
import type { StagedSmallFiles } from './small-files.ts';
import { indexesOf, suspectsOf } from './suspects.ts';
import { viewOf } from './view.ts';

/** @throws bad_request; workspace.in_progress; not_running; workspace.would_overwrite; workspace.changed; operation_failed; timeout; cancelled; busy */
export async function prepareWorkspace(deps: WorkspaceDeps, params: PrepareParams, call: CallContext): Promise<WorkspacePrepareResult> {
  call.stage('inspect');
  const { mode, branch, from, includeUntracked, guestPath } = params;
  const makePlan = (): Promise<HostPlan> => planWorkspace(deps.exec, params.path, {
    mode, includeUntracked, ...(branch === undefined ? {} : { branch }), ...(from === undefined ? {} : { from }), ...(guestPath === undefined ? {} : { guestPath }),
  }, { signal: call.signal });
  // What cannot go in is said at once.
  const early = await makePlan();
  const { id, name } = await deps.vms.running(params.ref, call.signal);
  const isFree = deps.locks.holder(id) === undefined;
  return deps.locks.run(id, lockOptions(name, 'workspace prepare', call.signal), async () => {
    // Once more, as the wait for others may have been long.
    const vm = await deps.vms.running(id, call.signal);
    const plan = isFree ? early : await makePlan();
    return deps.runJob({ vmDir: vm.dir, purpose: 'prepare' }, call, async (job) => {
      const dir = await makeStaging(vm, 'prepare');
      try {
        return await new Prepare(deps, { params, plan, vm, dir, call, job }).run();
      } finally {
        await removeStaging(vm, 'prepare');
      }
    });
  });
}

interface Work { readonly params: PrepareParams; readonly plan: HostPlan; readonly vm: Vm; readonly dir: string; readonly call: CallContext; readonly job: JobContext }

class Prepare {
  readonly #deps: WorkspaceDeps;
  readonly #work: Work;
  readonly #place: GuestPlace;

  constructor(deps: WorkspaceDeps, work: Work) {
    this.#deps = deps;
    this.#work = work;
    this.#place = { agent: deps.agent, vm: work.vm, signal: work.call.signal, guestPath: work.plan.guestPath, opId: work.call.opId, limitMs: stateLimitMs(deps) };
  }

  async run(): Promise<WorkspacePrepareResult> {
    const { plan, vm, call, params, dir } = this.#work;
    const { records } = this.#deps;
    const known = records.find(vm, plan.guestPath);
    const there = await findCheckout(this.#place, known);
    const record = there === 'ours' && known?.hostPath === plan.repo.root ? known : undefined;
    const isFresh = record === undefined || params.clean;
    call.stage('stage', plan.repo.name);
    const staged = await stageWorkspace(this.#deps.exec, {
      plan, dir: join(dir, 'git'), objectsDir: join(dir, 'objects'), ...(isFresh ? {} : { have: record.have }),
    }, { signal: call.signal, mark: this.#work.job.mark });
    const now = new Map<string, ManifestEntry>(staged.files.map(({ path, ...entry }) => [path, entry]));
    const pending = await records.pending(vm, plan.guestPath);
    // Cut short the first time, it holds what we sent, and what was done there since.
    const isOurTry = there !== 'absent' && known === undefined;
    const before: Manifest = record !== undefined ? await records.files(vm, plan.guestPath) : isOurTry ? pending.files : new Map();
    const changes = changesOf({ before, now, isFresh, wipes: params.clean });
    const small = await readSmallFiles(staged, isFresh ? undefined : record.smallFiles);
    call.stage('check', `${plan.guestPath} in the guest`);
    const losses = await this.#losses({
      there, record, before, now, known: known !== undefined, staged, pending, branches: small.branches, touched: [...(params.clean ? before.keys() : changes.send), ...changes.remove],
    });
    // A wipe leaves no commit to name.
    const movedHeads = params.clean ? [] : losses?.movedHeads ?? [];
    await records.savePending(vm, plan.guestPath, { files: now, indexes: indexesOf(staged) });
    // What was sent before is not there any more, or not by itself: a retry of this must not build on it.
    if (isFresh) await records.drop(vm, plan.guestPath);
    await this.#makeRoom({ there, isFresh, losses, remove: changes.remove });
    if (there !== 'absent' && !params.clean && staged.headCommit === undefined && staged.headBranch !== undefined) await this.#unmake(staged.headBranch);
    const sent = await this.#send(staged, { git: small.git, send: changes.send, now, movedHeads });
    for (const path of changes.send) if (!sent.work.has(path)) now.delete(path);
    for (const [path, entry] of sent.work) now.set(path, entry);
    await this.#finish(now);
    const done = await this.#remember(staged, now, small);
    return {
      workspace: viewOf(done), files: now.size, sentFiles: sent.work.size, sentBytes: sent.bytes, removedFiles: changes.remove.length,
      notices: [...plan.notices, ...movedHeads.map(({ path, commit }) =>
        `the guest's commits up to ${commit.slice(0, 12)}${path === '' ? '' : ` in ${escapeName(path)}`} stay in it as refs/banger/before/${call.opId}`)],
    };
  }

  /** Refuses when something of the guest would be lost. */
  async #losses(input: {
    readonly there: 'absent' | 'ours' | 'other'; readonly record: WorkspaceRecord | undefined; readonly before: Manifest; readonly staged: Staged; readonly pending: Pending;
    readonly now: ReadonlyMap<string, ManifestEntry>; readonly touched: readonly string[]; readonly branches: StagedSmallFiles['branches']; readonly known: boolean;
  }): Promise<Losses | undefined> {
    const { plan, vm, params } = this.#work;
    const { record, pending } = input;
    if (input.there === 'absent') return undefined;
    if (record === undefined && !params.force && (input.known || !hasBegun(pending))) throw placeTaken(vm.name, plan.guestPath);
    const kept = await keptIn(this.#deps.exec, plan.repo, vm.name, { signal: this.#work.call.signal });
    const parts = suspectsOf({ ...input, exec: this.#deps.exec, vm, kept, signal: this.#work.call.signal, wipes: params.clean });
    const losses = await findLosses(this.#place, { ...input, pending: pending.files, kept, parts, wipes: params.clean });
    if (losses.lost.length > 0 && !params.force) throw wouldOverwrite(vm.name, plan.guestPath, losses.lost);
    return losses;
  }

  async #makeRoom({ there, isFresh, losses, remove }: {
    readonly there: 'absent' | 'ours' | 'other'; readonly isFresh: boolean; readonly losses: Losses | undefined; readonly remove: readonly string[];
  }): Promise<void> {
    const { plan, params } = this.#work;
    const { guestPath } = plan;
    if (there === 'absent' && guestPath === linkPlace) await removeFiles(this.#place, '/root', ['repo']);
    if (there !== 'absent' && params.clean) await wipeTree(this.#place, guestPath);
    if (isFresh && dirname(guestPath) !== '/root') await makeDirs(this.#place, dirname(guestPath));
    if (params.clean) return;
    await removeFiles(this.#place, guestPath, [...remove.filter((path) => losses?.untouched.has(path) !== true), ...losses?.inTheWay ?? []]);
    // Told to overwrite: what is of another kind has to go first, as a file never replaces a directory by itself.
    const differing = losses?.differing ?? [];
    await clearPaths(this.#place, guestPath, [...losses?.full ?? [], ...differing.filter(({ kind }) => kind === 'dir').map(({ path }) => path)]);
    for (const { path, kind } of differing) if (kind === 'other') await this.#clearAbove(path);
  }

  /** A branch without commits on the host has none here. */
  async #unmake(branch: string): Promise<void> {
    const { guestPath } = this.#place;
    const { code } = await runScript(this.#place, { script: dropRefScript, args: [guestPath, `refs/heads/${branch}`], idleLimitMs: this.#place.limitMs });
    if (code !== 0) await removeFiles(this.#place, guestPath, [`.git/refs/heads/${toBytes(branch)}`]);
  }

  /** A part of the path that leads elsewhere, or is no directory, goes. */
  async #clearAbove(path: string): Promise<void> {
    const parts = path.split('/');
    const above = parts.slice(1).map((_, n) => parts.slice(0, n + 1).join('/'));
    const wrong = await checkTree(this.#place, this.#place.guestPath, [...above, path].map((each) => ({ path: each, kind: 'dir' as const, mode: 0, size: 0, mtimeNs: 0n })));
    const files = wrong.filter(({ kind }) => kind === 'file' || kind === 'link').map(({ path: each }) => each);
    if (files.length > 0) await removeFiles(this.#place, this.#place.guestPath, files);
  }

  async #send(staged: Staged, input: { readonly git: readonly string[]; readonly send: readonly string[]; readonly now: ReadonlyMap<string, ManifestEntry>; readonly movedHeads: readonly MovedHead[] }) {
    const { vm, plan, dir, call } = this.#work;
    const isLast = (path: string): boolean => /(^|\/)(index|HEAD)$|\/refs\//.test(path);
    const work = new Map(input.send.map((path) => [path, input.now.get(path)!]));
    const before = await Promise.all(input.movedHeads.map((head) => keepHead(staged.bases[0], call.opId, head)));
    call.stage('send', `${work.size} ${work.size === 1 ? 'file' : 'files'}`);
    return sendParts({
      files: this.#deps.files, vm, guestPath: plan.guestPath, dir, bases: staged.bases, opId: call.opId, signal: call.signal, log: this.#deps.log,
      onProgress: (bytes) => call.stage('send', `${work.size} files, ${Math.floor(bytes / 1_048_576)} MiB`),
    }, { first: [...before, ...input.git.filter((path) => !isLast(path))], work, last: input.git.filter(isLast) });
  }

  async #finish(now: Manifest): Promise<void> {
    const { plan } = this.#work;
    if (/^\/root\/[^/]+$/.test(plan.guestPath) && plan.guestPath !== linkPlace) await linkPath(this.#place, linkPlace, plan.guestPath);
    if (!miseFiles.some((path) => now.has(path))) return;
    // Never fatal: a person can trust it by hand.
    const result = await runScript(this.#place, { script: miseScript, args: [plan.guestPath], idleLimitMs: this.#place.limitMs }).catch((error: unknown) => error);
    this.#deps.log.debug({ vm: this.#work.vm.name, result: result instanceof Error ? result.message : 'done' }, 'mise was asked to trust the workspace');
  }

  async #remember(staged: Staged, now: Manifest, { values }: StagedSmallFiles): Promise<WorkspaceRecord> {
    const { plan, vm, params, dir } = this.#work;
    const stampOf = async (path: string): Promise<Stamp> => {
      const stat = await lstat(onDisk(staged.bases[0]!, path), { bigint: true });
      return { path, kind: stat.isFile() ? 'file' : 'link', mode: Number(stat.mode & 0o7777n), size: Number(stat.size), mtimeNs: String(stat.mtimeNs) };
    };
    const record: WorkspaceRecord = {
      guestPath: plan.guestPath, hostPath: plan.repo.root, gitDir: plan.repo.gitDir, commonDir: plan.repo.commonDir, mode: params.mode,
      ...(plan.repo.head.commit === undefined ? {} : { hostHead: plan.repo.head.commit }), includeUntracked: params.includeUntracked, preparedAt: new Date().toISOString(),
      ...(params.branch === undefined ? {} : { ownBranch: { name: params.branch, ...(params.from === undefined ? {} : { from: params.from }) } }),
      ...(staged.headCommit === undefined ? {} : { head: staged.headCommit }), ...(staged.headBranch === undefined ? {} : { branch: staged.headBranch }),
      indexDigest: staged.indexDigest, baseTree: staged.baseTree, smallFiles: values, have: structuredClone(staged.have) as WorkspaceRecord['have'],
      control: await Promise.all(staged.control.map(stampOf)), index: await stampOf('.git/index'),
      submodules: Object.fromEntries(await Promise.all(staged.submodules.map(async ({ gitPath, path, headCommit, headBranch, indexDigest, control }) => [gitPath, {
        path, indexDigest, control: await Promise.all(control.map(stampOf)), ...(headCommit === undefined ? {} : { head: headCommit }), ...(headBranch === undefined ? {} : { branch: headBranch }),
      }] as const))),
    };
    await this.#deps.records.save(vm, record, { files: now, objectsDir: join(dir, 'objects') });
    return record;
  }
}

/** A prepare without files has an index, too. */
const hasBegun = ({ files, indexes }: Pending): boolean => files.size > 0 || Object.keys(indexes).length > 0;

/** Where nothing counts as sent, all is sent; a wipe removes by itself. */
function changesOf({ before, now, isFresh, wipes }: { readonly before: Manifest; readonly now: Manifest; readonly isFresh: boolean; readonly wipes: boolean }): Changes {
  const changes = changesSince(before, now);
  return isFresh ? { send: [...now.keys()], remove: wipes ? [] : changes.remove } : changes;
}

/** A commit of the guest that HEAD leaves behind keeps a name there. */
async function keepHead(stagedTree: string, opId: string, { gitPath, commit }: MovedHead): Promise<string> {
  const path = `${gitPath}/refs/banger/before/${opId}`;
  const file = onDisk(stagedTree, path);
  await mkdir(file.subarray(0, file.lastIndexOf('/')), { recursive: true });
  await writeFile(file, `${commit}\n`);
  return path;
}
