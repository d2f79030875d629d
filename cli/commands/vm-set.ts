import type { Handler } from '../command.ts';
import { usageError } from '../parse.ts';
import { forEachRef, isUp } from '../refs.ts';
import { sectionsOf, sizeParams } from '../vm-params.ts';

const handler: Handler = async (ctx) => {
  const sections = sectionsOf(ctx.flags);
  const changes = { ...sizeParams(ctx.flags), ...(sections === undefined ? {} : { sections }) };
  if (Object.keys(changes).length === 0) throw usageError('banger vm set needs something to set', 'banger vm set --help lists the flags');
  const daemon = await ctx.daemon();
  return forEachRef(ctx, async (vm) => {
    const { vm: after } = await daemon.call('vm.set', { ref: vm.id, ...changes });
    return `${after.name} set${isUp(after) ? '; size counts from the next start' : ''}\n`;
  });
};
export default handler;
