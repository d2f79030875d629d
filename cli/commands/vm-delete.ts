import type { Handler } from '../command.ts';
import { forEachRef } from '../refs.ts';

const handler: Handler = async (ctx) => {
  const daemon = await ctx.daemon();
  return forEachRef(ctx, async (vm) => {
    await daemon.call('vm.delete', { ref: vm.id });
    return `${vm.name} deleted\n`;
  });
};
export default handler;
