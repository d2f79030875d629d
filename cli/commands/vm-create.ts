import type { Handler } from '../command.ts';
import { createVm, Interrupted } from '../create-vm.ts';
import { Interrupts, interruptExitCode } from '../interrupts.ts';
import { jsonText } from '../render/json.ts';
import { createParams } from '../vm-params.ts';

const handler: Handler = async (ctx) => {
  const params = { ...createParams(ctx), start: !ctx.flags.on('no-start') };
  const interrupts = new Interrupts((signal) => process.exit(interruptExitCode(signal)));
  try {
    const vm = await createVm(await ctx.daemon(), params, { io: ctx.io, interrupts, quiet: ctx.flags.on('quiet') });
    ctx.io.out(ctx.flags.on('json') ? jsonText({ vm }) : `${vm.name}\n`);
    return 0;
  } catch (error) {
    if (error instanceof Interrupted) return error.exitCode;
    throw error;
  } finally {
    interrupts.dispose();
  }
};
export default handler;
