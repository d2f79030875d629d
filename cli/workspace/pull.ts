// Bringing work back. A stopped VM is started for it and stopped again: nothing of a guest's disk is read on the host.
import type { VmView, WorkspacePullParams, WorkspacePullResult } from '../../core/api.ts';
import type { Daemon } from '../daemon-link.ts';
import { renderError } from '../errors.ts';
import { showOperation, type OperationCall } from '../operation.ts';
import { noticeLines, plural, shellWord } from './prepare.ts';
import { noWorkspace } from './status.ts';

type Target = Pick<VmView, 'id' | 'name'>;

/** Calls vm.workspace.pull for a running VM; notices go to stderr. @throws Interrupted; whatever the daemon says */
export async function pullRunning(daemon: Daemon, params: WorkspacePullParams, call: OperationCall): Promise<WorkspacePullResult> {
  const result = await showOperation(call, (watch) => daemon.call('vm.workspace.pull', params, watch));
  if (!call.quiet) call.io.err(noticeLines(result.notices));
  return result;
}

/** The same, also for a VM that does not run. `where`: all but the VM. @throws as above, once the VM is stopped again */
export async function pullWork(daemon: Daemon, where: Omit<WorkspacePullParams, 'ref'> & { readonly ref: string }, call: OperationCall): Promise<PulledWork> {
  const { vm } = await daemon.call('vm.show', { ref: where.ref }, { read: true });
  const params = { ...where, ref: vm.id };
  if (vm.state !== 'stopped') return { vm, result: await pullRunning(daemon, params, call) };
  await requireWorkspace(daemon, vm);
  say(call, `${vm.name} is stopped: it is started for this, and stopped again`);
  await showOperation(call, (watch) => daemon.call('vm.start', { ref: vm.id }, watch));
  let result: WorkspacePullResult;
  try {
    result = await pullRunning(daemon, params, call);
  } catch (error) {
    // The stop's own trouble must not hide why nothing came back.
    await stopAgain(daemon, vm, call).catch((second: unknown) => call.io.err(renderError(second, call.io)));
    throw error;
  }
  await stopAgain(daemon, vm, call);
  return { vm, result };
}
export interface PulledWork { readonly vm: Target; readonly result: WorkspacePullResult }

/** A VM is not started for nothing. @throws not_found */
async function requireWorkspace(daemon: Daemon, vm: Target): Promise<void> {
  const { workspaces } = await daemon.call('vm.workspace.status', { ref: vm.id });
  if (workspaces.length === 0) throw noWorkspace(vm.name);
}

async function stopAgain(daemon: Daemon, vm: Target, call: OperationCall): Promise<void> {
  await showOperation(call, (watch) => daemon.call('vm.stop', { ref: vm.id }, watch));
  say(call, `${vm.name} is stopped again`);
}

function say({ io, quiet }: OperationCall, text: string): void {
  if (!quiet) io.err(`banger: ${text}\n`);
}

/** What came back, and how to see it: one line without its end. */
export function pulledLine({ vm, result }: PulledWork, cwd: string): string {
  const { commits, changedFiles, hostPath } = result;
  const inside = cwd === hostPath || cwd.startsWith(hostPath === '/' ? '/' : `${hostPath}/`);
  if (commits === 0 && changedFiles === 0) return `nothing in the workspace of ${vm.name} differs from what went in`;
  const what = [...(commits > 0 ? [plural(commits, 'commit')] : []), ...(changedFiles > 0 ? [plural(changedFiles, 'changed file')] : [])].join(' and ');
  return `${what} came back from ${vm.name}: banger vm workspace diff ${vm.name}${inside ? '' : ` --repo ${shellWord(hostPath)}`}`;
}
