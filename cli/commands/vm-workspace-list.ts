import type { Handler } from '../command.ts';
import { jsonText } from '../render/json.ts';
import { inRepository, keptTable } from '../workspace/kept.ts';

const handler: Handler = (ctx) => inRepository(ctx, async ({ host, repo, signal }) => {
  const work = await host.listWork(host.exec, repo, ctx.args[0], { signal });
  ctx.io.out(ctx.flags.on('json') ? jsonText({ repository: repo.root, work }) : keptTable(work));
  return 0;
});
export default handler;
