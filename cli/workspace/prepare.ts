// Putting a repository into a VM: the call with its stages, then what the daemon has to say about it.
import type { WorkspacePrepareParams, WorkspacePrepareResult } from '../../core/api.ts';
import type { Daemon } from '../daemon-link.ts';
import { showOperation, type OperationCall } from '../operation.ts';
import { printable } from '../render/table.ts';
import { formatBytes, formatDuration } from '../render/units.ts';

export interface Prepared { readonly result: WorkspacePrepareResult; readonly elapsedMs: number }

/** Calls vm.workspace.prepare; notices go to stderr. @throws Interrupted; whatever the daemon says */
export async function prepareWorkspace(daemon: Daemon, params: WorkspacePrepareParams, call: OperationCall): Promise<Prepared> {
  const startedAt = performance.now();
  const result = await showOperation(call, (watch) => daemon.call('vm.workspace.prepare', params, watch));
  if (!call.quiet) call.io.err(noticeLines(result.notices));
  return { result, elapsedMs: performance.now() - startedAt };
}

/** One `banger: ...` line each; a name from a repository in it cannot move the cursor. */
export const noticeLines = (notices: readonly string[]): string => notices.map((notice) => `banger: ${printable(notice)}\n`).join('');

/** `/root/repo: 120 files, 3 sent (1.2 KiB), 1 removed, in 340 ms`. */
export function preparedLine({ result, elapsedMs }: Prepared): string {
  const { workspace, files, sentFiles, sentBytes, removedFiles } = result;
  const parts = [
    plural(files, 'file'), `${sentFiles} sent (${formatBytes(sentBytes)})`, ...(removedFiles > 0 ? [`${removedFiles} removed`] : []), `in ${formatDuration(elapsedMs)}`,
  ];
  return `${printable(workspace.guestPath)}: ${parts.join(', ')}`;
}

/** `1 file`, `2 files`. */
export const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

/** A word as a shell takes it back; control characters are not what one copies. */
export const shellWord = (text: string): string => (/^[A-Za-z0-9_./@%+=:,-]+$/.test(text) ? text : `'${printable(text).replaceAll("'", `'\\''`)}'`);
