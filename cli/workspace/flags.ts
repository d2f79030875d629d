// Flags of `vm run` and `vm workspace prepare` that are about the repository: data, for the catalog.
import type { WorkspaceMode } from '../../core/api.ts';
import type { FlagDef } from '../command.ts';

export const modes: readonly string[] = ['shallow', 'full_copy', 'metadata'] satisfies WorkspaceMode[];

export const workspaceFlags: readonly FlagDef[] = [
  { name: 'mode', type: 'string', placeholder: modes.join('|'), summary: 'The last commits and the working files (the default), the whole history, or no working files' },
  { name: 'branch', type: 'string', placeholder: 'name', summary: 'Branch to make in the guest, and there only' },
  { name: 'from', type: 'string', placeholder: 'commit', summary: 'Where --branch begins (default HEAD)' },
  { name: 'include-untracked', type: 'boolean', summary: 'Untracked files go along; ignored ones never do' },
  { name: 'guest-path', type: 'string', placeholder: 'dir', summary: 'Where in the guest (default /root/<name of the repository>)' },
  { name: 'dry-run', type: 'boolean', summary: 'Print mode, guest path and every file that would go in, and do nothing' },
];
