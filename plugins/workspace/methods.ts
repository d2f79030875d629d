// RPC methods vm.workspace.*: names, effects, shapes.
import type { RpcMethod } from '../../core/plugin-api.ts';
import type { WorkspaceDeps } from './deps.ts';
import { exportWorkspace } from './export.ts';
import { prepareWorkspace } from './prepare.ts';
import { pullWorkspace } from './pull.ts';
import * as schema from './schema.ts';
import { statusOf } from './view.ts';

const refErrors = ['not_found', 'ambiguous_ref', 'not_running'] as const;

export function prepareMethod(deps: WorkspaceDeps): RpcMethod<typeof schema.prepareParams, typeof schema.prepareResult> {
  return {
    summary: 'Puts a git repository of the host into a running VM, or what changed of it since the last time.',
    effect: 'write', operation: 'vm.workspace.prepare', params: schema.prepareParams, result: schema.prepareResult,
    errors: [...refErrors, 'workspace.in_progress', 'workspace.would_overwrite', 'workspace.changed', 'workspace.too_large', 'missing_requirement', 'unsupported', 'timeout', 'busy'],
    async handler(params, call) {
      const { notices, ...result } = await prepareWorkspace(deps, params, call);
      return { ...result, notices: [...notices] };
    },
  };
}

export function statusMethod(deps: WorkspaceDeps): RpcMethod<typeof schema.refParams, typeof schema.statusResult> {
  return {
    summary: 'Tells the workspaces of a VM, and whether their repositories have moved on since.',
    effect: 'read', params: schema.refParams, result: schema.statusResult, errors: ['not_found', 'ambiguous_ref'],
    async handler({ ref }, call) {
      const { workspaces } = await statusOf(deps, deps.vms.resolve(ref), call.signal);
      return { workspaces: [...workspaces] };
    },
  };
}

export function exportMethod(deps: WorkspaceDeps): RpcMethod<typeof schema.exportParams, typeof schema.exportResult> {
  return {
    summary: "Offers the guest's changes since a commit as a binary patch, and changes nothing in the guest.",
    effect: 'read', params: schema.exportParams, result: schema.exportResult, errors: [...refErrors, 'workspace.no_git', 'timeout'],
    handler: (params, call) => exportWorkspace(deps, params, call),
  };
}

export function pullMethod(deps: WorkspaceDeps): RpcMethod<typeof schema.pullParams, typeof schema.pullResult> {
  return {
    summary: "Brings the guest's commits and uncommitted work into the host's repository, under refs of its own.",
    effect: 'write', operation: 'vm.workspace.pull', params: schema.pullParams, result: schema.pullResult,
    errors: [...refErrors, 'workspace.no_git', 'workspace.rejected', 'workspace.too_large', 'missing_requirement', 'timeout', 'busy'],
    async handler(params, call) {
      const { notices, leftBehind, ...result } = await pullWorkspace(deps, params, call);
      return { ...result, leftBehind: [...leftBehind], notices: [...notices] };
    },
  };
}
