import type { VmPortListResult } from '../../core/api.ts';
import type { Handler } from '../command.ts';
import { wantedVms } from '../figures/wanted.ts';
import { hostText, tellProblems } from '../port-text.ts';
import { jsonText } from '../render/json.ts';
import { printable, table } from '../render/table.ts';

const handler: Handler = async (ctx) => {
  const { flags, io } = ctx;
  const { refs, code } = await wantedVms(ctx);
  if (refs?.length === 0) return code;
  const result = await (await ctx.daemon()).call('vm.port.list', refs === undefined ? {} : { refs }, { read: true });
  io.out(flags.on('json') ? jsonText(result) : forwardsTable(result.vms, refs?.length !== 1));
  for (const { vm, notices } of result.vms) for (const notice of notices) io.err(`${vm.name}: ${printable(notice)}\n`);
  return tellProblems(ctx, result.vms, code);
};
export default handler;

/** A row a forward, then one a port that is not forwarded. */
export function forwardsTable(vms: VmPortListResult['vms'], withNames: boolean): string {
  const answered = vms.filter(({ error }) => error === undefined);
  if (answered.length === 0) return '';
  const name = (vm: { readonly name: string }): string[] => (withNames ? [vm.name] : []);
  return table([...(withNames ? ['NAME'] : []), 'HOST', 'GUEST', 'KIND'], answered.flatMap(({ vm, forwards, unforwarded }) => [
    ...forwards.map((forward) => [...name(vm), hostText(forward), guestText(forward), forward.source]),
    ...unforwarded.map((port) => [...name(vm), '-', String(port.guestPort), `not forwarded: ${port.why}`]),
  ]));
}

/** The guest's address where that is none of its loopback. */
const guestText = ({ guestHost, guestPort }: VmPortListResult['vms'][number]['forwards'][number]): string =>
  (['127.0.0.1', 'localhost', '::1'].includes(guestHost) ? String(guestPort) : `${guestHost}:${guestPort}`);
