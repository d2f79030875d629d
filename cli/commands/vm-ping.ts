import type { Handler } from '../command.ts';
import { wantedVms } from '../figures/wanted.ts';
import { jsonText } from '../render/json.ts';
import { printable } from '../render/table.ts';

const handler: Handler = async (ctx) => {
  const { flags, io } = ctx;
  const { refs, code } = await wantedVms(ctx);
  if (refs === undefined || refs.length === 0) return code;
  const result = await (await ctx.daemon()).call('vm.ping', { refs }, { read: true });
  if (flags.on('json')) io.out(jsonText(result));
  else {
    for (const { vm, alive, answeredMs, reason } of result.pings) {
      io.out(alive ? `${vm.name} answered in ${answeredMs ?? 0} ms\n` : `${vm.name} did not answer: ${printable(reason ?? 'no reason is known')}\n`);
    }
  }
  return code === 0 && result.pings.some((entry) => !entry.alive) ? 1 : code;
};
export default handler;
