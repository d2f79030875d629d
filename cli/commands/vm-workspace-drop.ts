import type { Handler } from '../command.ts';
import { usageError } from '../parse.ts';
import { inRepository } from '../workspace/kept.ts';

const handler: Handler = async (ctx) => {
  const [vm, operation] = ctx.args;
  const all = ctx.flags.on('all');
  if (all && operation !== undefined) throw usageError(`--all drops every operation, so ${operation} is too much`, 'leave one of them out');
  if (!all && operation === undefined) throw usageError('banger vm workspace drop needs an operation, or --all', `banger vm workspace list ${vm!} lists them`);
  return inRepository(ctx, async ({ host, repo }) => {
    const dropped = await host.dropWork(host.exec, repo, all ? { vm: vm!, all: true } : { vm: vm!, operation: operation! });
    for (const each of dropped) ctx.io.out(`${vm!} ${each} dropped\n`);
    return 0;
  });
};
export default handler;
