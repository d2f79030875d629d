import type { Handler } from '../command.ts';
import { jsonText } from '../render/json.ts';
import { appliedText, inRepository } from '../workspace/kept.ts';

const handler: Handler = (ctx) => inRepository(ctx, async ({ host, repo, signal }) => {
  const { args, flags, io } = ctx;
  const work = await host.resolveWork(host.exec, repo, args[0]!, args[1]);
  const applied = await host.applyWork(host.exec, repo, work, { signal });
  if (flags.on('json')) io.out(jsonText({ vm: work.vm, operation: work.operation, ...applied, conflicts: applied.conflicts.map(host.nameData) }));
  else io.out(appliedText(work, { ...applied, conflicts: applied.conflicts.map(host.escapeName) }));
  return applied.conflicts.length === 0 ? 0 : 1;
});
export default handler;
