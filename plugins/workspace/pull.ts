// vm.workspace.pull: the guest's commits and its uncommitted state arrive in the host's repository, as objects under refs of our own.
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { WorkspacePullResult } from '../../core/api.ts';
import { BangerError, operationFailed } from '../../core/plugin-api.ts';
import type { CallContext, JobContext, Vm } from '../../core/plugin-api.ts';
import { importWork, quarantineDir } from './back/import.ts';
import { findLeftBehind } from './back/left-behind.ts';
import { lockOptions, silenceLimitMs } from './deps.ts';
import type { WorkspaceDeps } from './deps.ts';
import { linkPlace } from './guest-state.ts';
import { pullScript } from './guest/scripts.ts';
import { runScript, scriptFailure } from './guest/script.ts';
import { openRepository } from './host/repository.ts';
import type { Repository } from './host/repository.ts';
import { baseObjectsDir, makeStaging, removeStaging } from './record.ts';
import type { PullParams, WorkspaceRecord } from './schema.ts';

/** @throws not_found; not_running; workspace.no_git; workspace.too_large; workspace.rejected; operation_failed; timeout; cancelled; busy */
export async function pullWorkspace(deps: WorkspaceDeps, params: PullParams, call: CallContext): Promise<WorkspacePullResult> {
  const vm = await deps.vms.running(params.ref, call.signal);
  const record = requireRecord(deps, vm, params.guestPath);
  const repo = await openRepository(deps.exec, params.path ?? record.hostPath, { signal: call.signal });
  const quarantine = quarantineDir(repo, call.opId);
  return deps.locks.run(vm.id, lockOptions(vm.name, 'workspace pull', call.signal), () => deps.runJob({ vmDir: vm.dir, purpose: 'pull', quarantine }, call, async (job) => {
    const dir = await makeStaging(vm, 'pull');
    try {
      return await pull(deps, { vm, record, repo, dir, call, job });
    } finally {
      await removeStaging(vm, 'pull');
    }
  }));
}

/** @throws not_found when nothing was prepared there */
export function requireRecord({ records }: Pick<WorkspaceDeps, 'records'>, vm: Vm, guestPath: string | undefined): WorkspaceRecord {
  // The link at the usual place leads to the last one.
  const record = records.find(vm, guestPath) ?? (guestPath === linkPlace ? records.find(vm) : undefined);
  if (record === undefined) {
    throw new BangerError('not_found', `VM ${vm.name} has no workspace${guestPath === undefined ? '' : ` at ${guestPath}`}`, { hint: `banger vm workspace prepare ${vm.name} puts one in` });
  }
  return record;
}

interface Pull { readonly vm: Vm; readonly record: WorkspaceRecord; readonly repo: Repository; readonly dir: string; readonly call: CallContext; readonly job: JobContext }

async function pull(deps: WorkspaceDeps, work: Pull): Promise<WorkspacePullResult> {
  const { vm, record, repo, dir, call, job } = work;
  call.stage('collect', `${record.guestPath} in the guest`);
  const packFile = join(dir, 'work.pack');
  const { header, said } = await receive(deps, work, packFile);
  call.stage('import', repo.root);
  const { refs, commits, changedFiles } = await importWork(deps.exec, repo, {
    vm: vm.name, operation: call.opId, packFile, worktreeTree: header.worktree, maxBytes: deps.config.max_pull_mib * 1_048_576,
    ...(header.head === undefined ? {} : { head: header.head }), ...(header.index === undefined ? {} : { indexTree: header.index }),
    base: { tree: record.baseTree, objectsDir: baseObjectsDir(vm, record), ...(record.head === undefined ? {} : { commit: record.head }) },
  }, { signal: call.signal, mark: job.mark });
  const leftBehind = await findLeftBehind(deps.exec, repo, { refs, said, signal: call.signal });
  const notices = header.index === undefined ? ['the index of the guest is not merged, so it is left out; the worktree holds the files as they are'] : [];
  return {
    operation: call.opId, hostPath: repo.root, refs, commits, changedFiles, leftBehind,
    notices: [...notices, ...leftBehind.map((path) => `the work inside ${path}, a repository of its own, stays in the guest`)],
  };
}

interface Header { readonly head?: string; readonly index?: string; readonly worktree: string }

const maxHeaderBytes = 512;

/** The script's one line, and the pack behind it into a file. */
async function receive(deps: WorkspaceDeps, { vm, record, call }: Pull, packFile: string): Promise<{ readonly header: Header; readonly said: readonly string[] }> {
  const file = await open(packFile, 'wx', 0o600);
  const maxBytes = deps.config.max_pull_mib * 1_048_576;
  let start = Buffer.alloc(0);
  let header: Header | undefined;
  let bytes = 0;
  const take = async (chunk: Buffer): Promise<void> => {
    let rest = chunk;
    if (header === undefined) {
      start = Buffer.concat([start, chunk]);
      const end = start.indexOf('\n');
      if (end === -1 && start.length <= maxHeaderBytes) return;
      header = parseHeader(vm, start.subarray(0, end === -1 ? 0 : end));
      rest = start.subarray(end + 1);
    }
    bytes += rest.length;
    if (bytes > maxBytes) {
      throw new BangerError('workspace.too_large', `The work in the guest of ${vm.name} is larger than ${deps.config.max_pull_mib} MiB`, { hint: '[plugins.workspace] max_pull_mib in the configuration is the limit' });
    }
    call.stage('collect', `${Math.floor(bytes / 1_048_576)} MiB`);
    await writeAll(file, rest);
  };
  try {
    const result = await runScript({ agent: deps.agent, vm, signal: call.signal }, {
      script: pullScript, args: [record.guestPath, call.opId, record.head ?? ''], onStdout: take,
      idleLimitMs: silenceLimitMs(deps),
    });
    if (result.code !== 0) throw scriptFailure(result, { vm, guestPath: record.guestPath, what: 'Collecting the work' });
    if (header === undefined) throw operationFailed(`The guest of ${vm.name} said nothing of its work`);
    return { header, said: result.said };
  } finally {
    await file.close();
  }
}

async function writeAll(file: FileHandle, bytes: Buffer): Promise<void> {
  try {
    for (let at = 0; at < bytes.length;) at += (await file.write(bytes, at)).bytesWritten;
  } catch (error) {
    throw operationFailed(`The work does not fit on the disk of this host: ${(error as Error).message}`, { cause: error });
  }
}

function parseHeader(vm: Vm, line: Buffer): Header {
  const id = '[0-9a-f]{40}(?:[0-9a-f]{24})?';
  const match = new RegExp(`^banger-work 1 (-|${id}) (-|${id}) (${id})$`).exec(line.toString('latin1'));
  if (match === null) throw operationFailed(`The guest of ${vm.name} does not say what its work is`);
  const [, head, index, worktree] = match as unknown as [string, string, string, string];
  return { worktree, ...(head === '-' ? {} : { head }), ...(index === '-' ? {} : { index }) };
}
