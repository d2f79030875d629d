import type { VmHealth } from '../../core/api.ts';
import type { Handler } from '../command.ts';
import { wantedVms } from '../figures/wanted.ts';
import { jsonText } from '../render/json.ts';
import { table } from '../render/table.ts';

const handler: Handler = async (ctx) => {
  const { flags, io } = ctx;
  const { refs, code } = await wantedVms(ctx);
  if (refs?.length === 0) return code;
  const result = await (await ctx.daemon()).call('vm.health', refs === undefined ? {} : { refs }, { read: true });
  io.out(flags.on('json') ? jsonText(result) : healthTable(result.health));
  return code === 0 && result.health.some((entry) => !entry.healthy) ? 1 : code;
};
export default handler;

export function healthTable(health: readonly VmHealth[]): string {
  return table(['NAME', 'STATE', 'HEALTHY', 'ANSWERED', 'NOTES'], health.map((entry) => [
    entry.vm.name, entry.state, entry.healthy ? 'yes' : 'no', entry.answeredMs === undefined ? '-' : `${entry.answeredMs} ms`,
    [...entry.reason === undefined ? [] : [entry.reason], ...entry.warnings].join('; '),
  ]));
}
