// From the store's record to the VM that plugins see.
import type { Paths } from '../paths.ts';
import type { Vm } from '../model.ts';
import type { VmRecord } from '../store/vms.ts';

export type ToVm = (record: VmRecord) => Vm;

export function createToVm(installId: string, paths: Pick<Paths, 'vmDir'>): ToVm {
  return (record) => ({
    id: record.id, name: record.name, slot: record.slot, spec: record.spec, createdAt: record.createdAt,
    mark: `${installId}/${record.id}`, dir: paths.vmDir(record.id),
  });
}
