import type { VmPort, VmPortsResult } from '../../core/api.ts';
import type { Handler } from '../command.ts';
import { wantedVms } from '../figures/wanted.ts';
import { tellProblems } from '../port-text.ts';
import { jsonText } from '../render/json.ts';
import { table } from '../render/table.ts';

const handler: Handler = async (ctx) => {
  const { flags, io } = ctx;
  const { refs, code } = await wantedVms(ctx);
  if (refs?.length === 0) return code;
  const result = await (await ctx.daemon()).call('vm.ports', { ...(refs === undefined ? {} : { refs }), ...(flags.on('no-probe') ? { probe: false } : {}) }, { read: true });
  if (flags.on('json')) io.out(jsonText(result));
  else io.out(portsTable(result.vms, refs?.length !== 1));
  for (const { vm, more } of result.vms) if (more > 0) io.err(`${vm.name}: ${more} more are not shown\n`);
  return flags.on('json') && result.vms.length > 1 ? code || Math.min(1, result.vms.filter(({ error }) => error).length) : tellProblems(ctx, result.vms, code);
};
export default handler;

/** A row a port; whose it is, where there may be several VMs. */
export function portsTable(vms: VmPortsResult['vms'], withNames: boolean): string {
  const answered = vms.filter(({ error }) => error === undefined);
  if (answered.length === 0) return '';
  return table([...(withNames ? ['NAME'] : []), 'PORT', 'PROCESS', 'LISTENS ON', 'ENDPOINT'], answered.flatMap(({ vm, ports }) => ports.map((port) => [
    ...(withNames ? [vm.name] : []), `${port.port}/${port.protocol}`, processText(port), addressText(port.addresses), port.url ?? port.endpoint ?? `- (${port.why ?? 'not forwarded'})`,
  ])));
}

function processText({ process, pid }: VmPort): string {
  if (process === undefined) return pid === undefined ? '-' : String(pid);
  return pid === undefined ? process : `${process} (${pid})`;
}

const shown = 3;
const addressText = (addresses: readonly string[]): string =>
  [...addresses.slice(0, shown), ...(addresses.length > shown ? [`${addresses.length - shown} more`] : [])].join(', ');
