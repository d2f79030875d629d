import type { VmListResult, VmView } from '../../core/api.ts';
import type { Handler } from '../command.ts';
import { jsonText } from '../render/json.ts';
import { cellText } from '../render/keyvalue.ts';
import { table } from '../render/table.ts';
import { formatAge } from '../render/units.ts';

const handler: Handler = async ({ daemon, flags, io }) => {
  const result = await (await daemon()).call('vm.list', {}, { read: true });
  if (flags.on('json')) io.out(jsonText(result));
  else if (flags.on('quiet')) io.out(result.vms.map((vm) => `${vm.id}\n`).join(''));
  else io.out(vmTable(result));
};
export default handler;

/** The table of `vm list`, with the columns of plugins before the last one. */
export function vmTable({ vms, columns }: VmListResult): string {
  const headers = ['ID', 'NAME', 'STATE', 'IMAGE', 'VCPU', 'MEM', ...columns.map((column) => column.header.toUpperCase()), 'CREATED'];
  return table(headers, vms.map((vm) => [
    vm.id, vm.name, vm.state, vm.image, String(vm.vcpu), `${vm.memoryMiB} MiB`,
    ...columns.map((column) => sectionCell(vm, column)), formatAge(vm.createdAt),
  ]));
}

function sectionCell(vm: VmView, column: VmListResult['columns'][number]): string {
  const section = vm.sections[column.section];
  return typeof section === 'object' && section !== null ? cellText((section as Readonly<Record<string, unknown>>)[column.key]) || '-' : '-';
}
