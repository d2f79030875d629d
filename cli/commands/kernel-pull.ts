import type { Handler } from '../command.ts';
import { pullWithProgress } from '../artifacts.ts';
import { jsonText } from '../render/json.ts';

const handler: Handler = async (ctx) => {
  const daemon = await ctx.daemon();
  const result = await pullWithProgress(ctx, (options) => daemon.call('kernel.pull', { ref: ctx.args[0]! }, options));
  ctx.io.out(ctx.flags.on('json') ? jsonText(result) : `${result.kernel.name}\n`);
};
export default handler;
