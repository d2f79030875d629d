import type { Handler } from '../command.ts';
import { withInterrupts } from '../operation.ts';
import { jsonText } from '../render/json.ts';
import { absolutePath, prepareParams, workspaceOptions } from '../workspace/options.ts';
import { preparedLine, prepareWorkspace } from '../workspace/prepare.ts';
import { planSource, showSource } from '../workspace/source.ts';

const handler: Handler = async (ctx) => {
  const { args, flags, io } = ctx;
  const [vm, path = '.'] = args;
  const options = workspaceOptions(flags);
  if (flags.on('dry-run')) return withInterrupts(async () => showSource(ctx, await planSource(ctx, path, { bootstrap: false })));
  return withInterrupts(async (interrupts) => {
    const params = {
      ...prepareParams(vm!, absolutePath(path), options), ...(flags.on('clean') ? { clean: true } : {}), ...(flags.on('force') ? { force: true } : {}),
    };
    const prepared = await prepareWorkspace(await ctx.daemon(), params, { io, interrupts, quiet: flags.on('quiet') });
    io.out(flags.on('json') ? jsonText(prepared.result) : `${preparedLine(prepared)}\n`);
    return 0;
  });
};
export default handler;
