import type { Handler } from '../command.ts';
import { createVm } from '../create-vm.ts';
import { withInterrupts } from '../operation.ts';
import { jsonText } from '../render/json.ts';
import { createParams } from '../vm-params.ts';

const handler: Handler = async (ctx) => {
  const params = { ...createParams(ctx), start: !ctx.flags.on('no-start') };
  return withInterrupts(async (interrupts) => {
    const vm = await createVm(await ctx.daemon(), params, { io: ctx.io, interrupts, quiet: ctx.flags.on('quiet') });
    ctx.io.out(ctx.flags.on('json') ? jsonText({ vm }) : `${vm.name}\n`);
    return 0;
  });
};
export default handler;
