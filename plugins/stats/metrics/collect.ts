// What the metrics text is made of: the last round of the poll. No guest is asked and nothing of a VM is looked up, however many there are.
import type { Vm, VmUse, Vms } from '../../../core/plugin-api.ts';
import { problemOf } from '../view.ts';
import type { Watch } from '../watch.ts';
import type { VmMetrics } from './families.ts';

export interface CollectDeps {
  readonly vms: Pick<Vms, 'list' | 'isPaused'>;
  readonly use: Pick<VmUse, 'of'>;
  readonly watch: Watch;
}

export function collectMetrics(deps: CollectDeps): readonly VmMetrics[] {
  return deps.vms.list().map((vm) => metricsOf(deps, vm));
}

function metricsOf({ vms, use, watch }: CollectDeps, vm: Vm): VmMetrics {
  const made = { vm: { id: vm.id, name: vm.name }, driver: vm.spec.driver, image: vm.spec.imageName };
  const watched = watch.known(vm.id);
  if (watched === undefined) return { ...made, state: 'stopped', disks: [], use: { holds: [] } };
  const isPaused = vms.isPaused(vm.id);
  const problem = problemOf(watched, isPaused);
  const { lastUsedAt, holds } = use.of(vm.id);
  const { atMs: _, guestAtMs: _told, guest, network, ...host } = watched.figures;
  return {
    ...made, ...host, state: isPaused ? 'paused' : 'running', disks: watched.disks, use: { lastUsedAt: new Date(lastUsedAt).toISOString(), holds },
    // Old figures under a new time would look like a guest that does nothing.
    ...(problem === undefined ? { ...(guest === undefined ? {} : { guest }), ...(network === undefined ? {} : { network }) } : { problem }),
  };
}
