// Figures as clients see them, for VMs that run and for those that do not.
import type { VmStats } from '../../core/api.ts';
import type { Vm, VmUse, Vms } from '../../core/plugin-api.ts';
import { readPss } from './host/vmm.ts';
import type { Watch } from './watch.ts';
import { allocated } from './watched-vm.ts';
import type { Figures, WatchedVm } from './watched-vm.ts';

export interface ViewDeps {
  readonly vms: Pick<Vms, 'isPaused'>;
  readonly use: Pick<VmUse, 'of'>;
  readonly watch: Watch;
}

/** A walk over the page tables of a large VMM takes a tenth of this. */
const pssLimitMs = 2000;

/** Figures of one VM. `wait`: the guest is asked and waited for, within the limit of questions; else what is known counts. Never rejects. */
export async function statsOf(deps: ViewDeps, vm: Vm, wait: boolean): Promise<VmStats> {
  const { watch } = deps;
  const watched = watch.look(vm);
  if (watched === undefined) return stoppedStats(watch, vm);
  if (!wait) {
    if (!deps.vms.isPaused(vm.id)) watch.refresh(watched);
    return runningStats(deps, watched);
  }
  const [pssBytes] = await Promise.all([
    readPss(watched.process.pid, AbortSignal.timeout(pssLimitMs)), watch.questions.ask(watched), watch.readDisks(watched),
  ]);
  // The answer may have taken seconds.
  if (!watched.measure()) return stoppedStats(watch, vm);
  return runningStats(deps, watched, pssBytes);
}

function runningStats({ vms, use }: ViewDeps, watched: WatchedVm, pssBytes?: number): VmStats {
  const { vm, figures } = watched;
  const isPaused = vms.isPaused(vm.id);
  const problem = problemOf(watched, isPaused);
  const { lastUsedAt, holds } = use.of(vm.id);
  return {
    ...nameAndSize(vm), state: isPaused ? 'paused' : 'running', at: new Date(figures.atMs).toISOString(), stale: false, disks: watched.disks,
    use: { lastUsedAt: new Date(lastUsedAt).toISOString(), holds: [...holds] },
    ...(figures.host === undefined ? {} : { host: { ...figures.host, ...(pssBytes === undefined ? {} : { pssBytes }) } }),
    ...(figures.uptimeSeconds === undefined ? {} : { uptimeSeconds: figures.uptimeSeconds }),
    ...(problem === undefined && figures.guest !== undefined ? { guest: figures.guest, ...toldAt(figures) } : {}),
    ...(problem === undefined && figures.network !== undefined ? { network: figures.network } : {}),
    ...(problem === undefined ? {} : { problem }),
  };
}

/** The host knows better than the silence of the guest why there is no answer. */
export function problemOf(watched: WatchedVm, isPaused: boolean): string | undefined {
  if (isPaused) return 'it is paused';
  if (watched.problem !== undefined && watched.isStopped) return `its VMM, process ${watched.process.pid}, was stopped by a signal`;
  return watched.problem;
}

async function stoppedStats(watch: Watch, vm: Vm): Promise<VmStats> {
  const [last, files] = await Promise.all([watch.last.of(vm), watch.diskFiles(vm)]);
  const { atMs, guestAtMs: _, ...figures }: Figures = last ?? { atMs: Date.now() };
  return {
    ...nameAndSize(vm), ...figures, ...toldAt(last ?? {}), state: 'stopped', at: new Date(atMs).toISOString(), stale: last !== undefined,
    disks: allocated(files), use: { holds: [] },
  };
}

/** What the guest told has its own time: no other is to be taken for it. */
const toldAt = ({ guestAtMs }: Pick<Figures, 'guestAtMs'>): Pick<VmStats, 'guestAt'> => (guestAtMs === undefined ? {} : { guestAt: new Date(guestAtMs).toISOString() });

const nameAndSize = (vm: Vm): Pick<VmStats, 'vm' | 'memoryMiB'> => ({ vm: { id: vm.id, name: vm.name }, memoryMiB: vm.spec.memoryMiB });
