import type { Handler } from '../command.ts';
import { forEachRef } from '../refs.ts';

const handler: Handler = async (ctx) => {
  const daemon = await ctx.daemon();
  const given = ctx.flags.text('signal');
  const signal = given?.toUpperCase().replace(/^SIG/, '');
  return forEachRef(ctx, async (vm) => {
    await daemon.callAny('vm.kill', { ref: vm.id, ...(signal === undefined ? {} : { signal }) });
    return `${vm.name} killed\n`;
  });
};
export default handler;
