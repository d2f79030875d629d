// start, stop, restart, pause and resume: the same work with another method. Stages are shown while there is one VM; more would mix.
import type { CommandContext } from './command.ts';
import { forEachRef } from './refs.ts';
import { createProgress } from './render/progress.ts';

export async function changeVms(ctx: CommandContext, verb: { readonly method: 'vm.start' | 'vm.stop' | 'vm.restart' | 'vm.pause' | 'vm.resume'; readonly done: string }): Promise<number> {
  const progress = createProgress(ctx.io, { quiet: ctx.flags.on('quiet') || ctx.args.length > 1 });
  const daemon = await ctx.daemon();
  return forEachRef(ctx, async (vm) => {
    try {
      await daemon.call(verb.method, { ref: vm.id }, { onProgress: (notice) => progress.show(notice) });
    } finally {
      progress.end();
    }
    return `${vm.name} ${verb.done}\n`;
  });
}
