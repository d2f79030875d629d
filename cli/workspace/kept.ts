// Work that was pulled: what is done with it in the repository it came to, without a daemon.
import type { Applied, KeptWork, Repository } from '../../plugins/workspace/shared.ts';
import type { CommandContext } from '../command.ts';
import { showOperation, withInterrupts } from '../operation.ts';
import { table } from '../render/table.ts';
import { formatAge } from '../render/units.ts';
import { absolutePath } from './options.ts';
import { plural } from './prepare.ts';

type Host = typeof import('./host.ts');
export interface Place { readonly host: Host; readonly repo: Repository; readonly signal: AbortSignal }

/** Work in the repository of --repo, or of the current directory. Ctrl-C ends its programs. @throws bad_request where there is none */
export function inRepository({ flags, io }: CommandContext, work: (place: Place) => Promise<number>): Promise<number> {
  return withInterrupts((interrupts) => showOperation({ io, interrupts, quiet: true }, async ({ signal }) => {
    const host = await import('./host.ts');
    const repo = await host.openRepository(host.exec, absolutePath(flags.text('repo') ?? '.'), { signal });
    return work({ host, repo, signal });
  }));
}

/** One row an operation. */
export function keptTable(works: readonly KeptWork[], now?: number): string {
  return table(['VM', 'OPERATION', 'PULLED', 'COMMITS', 'FILES'], works.map((work) => [
    work.vm, work.operation, formatAge(work.createdAt, now), String(work.commits), String(work.changedFiles),
  ]));
}

/** What an apply did, a line; notices; then a line a conflict. The paths of conflicts are fit to show. */
export function appliedText(work: Pick<KeptWork, 'vm' | 'operation'>, { applied, added, deleted, conflicts, notices }: Applied): string {
  const parts = [...(added > 0 ? [`${added} new`] : []), ...(deleted > 0 ? [`${deleted} removed`] : [])];
  const what = applied === 0 ? 'nothing to change' : `${plural(applied, 'file')} changed${parts.length === 0 ? '' : ` (${parts.join(', ')})`}`;
  return [
    `${work.vm} ${work.operation}: ${what}${conflicts.length === 0 ? '' : `, ${plural(conflicts.length, 'conflict')}`}`,
    ...notices, ...conflicts.map((path) => `conflict: ${path}`), '',
  ].join('\n');
}
