// A workspace as clients see it, and whether the host went on meanwhile.
import type { WorkspaceStatusResult, WorkspaceView } from '../../core/api.ts';
import type { Exec, Vm } from '../../core/plugin-api.ts';
import { readHead } from './host/repository.ts';
import type { Records } from './record.ts';
import type { WorkspaceRecord } from './schema.ts';

export function viewOf(record: WorkspaceRecord): WorkspaceView {
  const { guestPath, hostPath, mode, head, branch, includeUntracked, ownBranch, preparedAt } = record;
  return {
    guestPath, hostPath, mode, includeUntracked, preparedAt,
    ...(head === undefined ? {} : { head }), ...(branch === undefined ? {} : { branch }), ...(ownBranch === undefined ? {} : { ownBranch }),
  };
}

/** Never fails because of a repository: one that is gone has no HEAD now, and has not moved. */
export async function statusOf(deps: { readonly exec: Pick<Exec, 'run'>; readonly records: Records }, vm: Vm, signal: AbortSignal): Promise<WorkspaceStatusResult> {
  const workspaces = await Promise.all(deps.records.list(vm).map(async (record) => {
    const hostHead = await readHead(record, deps.exec, signal).catch(() => undefined);
    return { ...viewOf(record), ...(hostHead === undefined ? {} : { hostHead }), moved: hostHead !== undefined && hostHead !== record.hostHead };
  }));
  return { workspaces };
}
