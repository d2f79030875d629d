import type { VmView } from '../../core/api.ts';
import type { Handler } from '../command.ts';
import { exitCodeOf, renderError } from '../errors.ts';
import { resolveRefs } from '../refs.ts';
import { jsonText } from '../render/json.ts';
import { keyValue } from '../render/keyvalue.ts';
import { printable } from '../render/table.ts';

const handler: Handler = async ({ args, daemon, flags, io }) => {
  const connection = await daemon();
  const { vms } = await connection.call('vm.list', {}, { read: true });
  const resolved = resolveRefs(args, vms);
  // A list has no details of an end.
  const whole = async (vm: VmView): Promise<VmView> => (vm.end === undefined ? vm : (await connection.call('vm.show', { ref: vm.id }, { read: true })).vm);
  const found = await Promise.all(resolved.flatMap((entry) => ('vm' in entry ? [whole(entry.vm)] : [])));
  // One reference gives {vm}, several give {vms}: what was asked for decides, never what was found.
  if (flags.on('json') && (found.length > 0 || args.length > 1)) io.out(jsonText(args.length === 1 ? { vm: found[0] } : { vms: found }));
  else io.out(found.map(vmRows).join('\n'));
  let code = 0;
  for (const entry of resolved) {
    if (!('error' in entry)) continue;
    io.err(renderError(entry.error, io));
    code = exitCodeOf(entry.error);
  }
  return code;
};
export default handler;

/** All there is to know of a VM, a row each; plugins' rows after the core's. */
export function vmRows(vm: VmView): string {
  const sections = Object.entries(vm.sections).flatMap(([plugin, section]): (readonly [string, unknown])[] =>
    (typeof section === 'object' && section !== null && !Array.isArray(section)
      ? Object.entries(section).map(([key, value]) => [`${plugin}.${key}`, value] as const) : [[plugin, section]]));
  return keyValue([
    ['id', vm.id], ['name', vm.name], ['state', vm.stateReason === undefined ? vm.state : `${vm.state} (${vm.stateReason})`],
    ['image', `${vm.image} (${vm.imageId})`], ['kernel', vm.kernel], ['driver', vm.driver], ['vcpu', vm.vcpu], ['memory', `${vm.memoryMiB} MiB`],
    ['init', vm.init], ['created', vm.createdAt], ['started', vm.startedAt], ['reboots', vm.reboots], ['pid', vm.process?.pid],
    ['last error', vm.lastError && `${vm.lastError.message}${vm.lastError.opId === undefined ? '' : ` (${vm.lastError.opId})`}`],
    ...sections, ['ended', vm.end && `${vm.end.at} (${vm.end.reason})`],
  ]) + (vm.end?.detail ?? []).map((line) => `  ${printable(line)}\n`).join('');
}
