// Images and kernels look the same from here.
import type { ArtifactView } from '../core/rpc/methods.ts';
import type { CommandContext } from './command.ts';
import type { CallOptions } from './daemon-link.ts';
import { printInOrder, type Outcome } from './refs.ts';
import { keyValue } from './render/keyvalue.ts';
import { createProgress } from './render/progress.ts';
import { table } from './render/table.ts';
import { formatAge, formatBytes } from './render/units.ts';

export const artifactTable = (list: readonly ArtifactView[]): string =>
  table(['ID', 'NAME', 'SIZE', 'VMS', 'SOURCE', 'CREATED'], list.map((one) => [
    one.id.slice(0, 12), one.name, formatBytes(one.sizeBytes), String(one.inUseBy), one.source, formatAge(one.createdAt),
  ]));

/** Every field, also those that a later daemon adds. */
export const artifactRows = (one: ArtifactView): string => keyValue(Object.entries(one).map(([key, value]) => [key, key === 'sizeBytes' ? formatBytes(Number(value)) : value]));

/** Shows the stages of a pull; Ctrl-C leaves the pull to the daemon only if somebody else waits for it, so it is cancelled. */
export async function pullWithProgress<T>(ctx: CommandContext, pull: (options: CallOptions) => Promise<T>): Promise<T> {
  const progress = createProgress(ctx.io);
  const abort = new AbortController();
  const onInterrupt = (): void => abort.abort();
  process.once('SIGINT', onInterrupt);
  try {
    return await pull({ signal: abort.signal, onProgress: (notice) => progress.show(notice) });
  } finally {
    process.off('SIGINT', onInterrupt);
    progress.end();
  }
}

/** Deletes all that were named, at once; duplicates count once. */
export async function deleteEach(ctx: CommandContext, method: 'image.delete' | 'kernel.delete'): Promise<number> {
  const daemon = await ctx.daemon();
  return printInOrder(ctx, [...new Set(ctx.args)].map(async (ref): Promise<Outcome> => {
    try {
      const { name } = await daemon.call(method, { ref });
      return { text: `${name} deleted\n` };
    } catch (error) {
      return { error };
    }
  }));
}
