// What a VM's workspaces are, and whether the host's repositories have moved on since.
import type { WorkspaceStatus } from '../../core/api.ts';
import { BangerError, isBangerError } from '../../core/errors.ts';
import type { Daemon } from '../daemon-link.ts';
import { printable, table } from '../render/table.ts';
import { formatAge } from '../render/units.ts';

export const noWorkspace = (vm: string): BangerError =>
  new BangerError('not_found', `VM ${vm} has no workspace`, { hint: `banger vm workspace prepare ${vm} <path> puts one in` });

/** The VM's workspaces, the last prepared first; none from a daemon that does not know them. Goes out with the hello, so it costs no turn. */
export async function workspacesOf(daemon: Daemon, ref: string): Promise<readonly WorkspaceStatus[]> {
  try {
    return (await daemon.call('vm.workspace.status', { ref }, { read: true })).workspaces;
  } catch (error) {
    if (isBangerError(error) && error.code === 'unknown_method') return []; // an older daemon, or one without the plugin
    throw error;
  }
}

const shortId = (commit: string | undefined): string => commit?.slice(0, 12) ?? 'no commit';

/** The warning of a workspace that the host has left behind: one line without its end; nothing while it has not. */
export function movedLine(vm: string, workspace: WorkspaceStatus): string | undefined {
  if (!workspace.moved || workspace.hostHead === undefined) return undefined;
  return `HEAD of the repository is at ${shortId(workspace.hostHead)}, the workspace of ${vm} at ${shortId(workspace.head)}; --auto-prepare brings it`;
}

/** One row a workspace. */
export function statusTable(workspaces: readonly WorkspaceStatus[], now?: number): string {
  return table(['GUEST PATH', 'HOST PATH', 'MODE', 'BRANCH', 'HEAD', 'HOST HEAD', 'PREPARED'], workspaces.map((workspace) => [
    workspace.guestPath, workspace.hostPath, workspace.mode, workspace.branch ?? '-', workspace.head?.slice(0, 12) ?? '-',
    workspace.hostHead === undefined ? 'unknown' : workspace.moved ? workspace.hostHead.slice(0, 12) : 'same', formatAge(workspace.preparedAt, now),
  ].map(printable)));
}
