// The VM service: what core/daemon.ts wires, serves and closes.
import type { LeakReport, ReclaimResult } from '../api.ts';
import type { VmTeardown, Vms } from '../capabilities.ts';
import { createKeyedLock } from '../lock.ts';
import type { RecoverReport } from '../lifecycle/recover.ts';
import { keepTrack, liveProcess } from './context.ts';
import type { VmContext, VmServiceDeps } from './context.ts';
import { createVmMethods } from './methods.ts';
import type { MethodTable } from './methods.ts';
import { createToVm } from './record.ts';
import { deriveState } from './states.ts';
import { stopUnused } from './stop-unused.ts';
import { createWatcher } from './watch.ts';

export interface VmService {
  /** vm.* by name, owner `core`. */
  readonly methods: MethodTable;
  /** The capability `vms@1`. */
  readonly vms: Vms;
  /** Fills the capability `vm-teardown@1`. */
  readonly stopUnused: VmTeardown['stopUnused'];
  /** Recovers the VMs of the daemon before this one and begins to watch. Once, before the first request; `finished` need not be awaited. */
  start(): { readonly finished: Promise<RecoverReport> };
  /** Ends the watch, and waits for recovery, teardowns and deletions under way. Running VMs stay. */
  close(): Promise<void>;
  /** For `daemon.status` and idle exit. */
  counts(): { readonly total: number; readonly running: number };
  leaks(signal?: AbortSignal): Promise<LeakReport>;
  reclaim(call: Parameters<VmServiceDeps['lifecycle']['reclaim']>[0]): Promise<ReclaimResult>;
}

export function createVmService(deps: VmServiceDeps): VmService {
  const ctx: VmContext = { ...deps, toVm: createToVm(deps.store.installId, deps.paths), createLock: createKeyedLock(), background: new Set() };
  const watcher = createWatcher(ctx);
  return {
    methods: createVmMethods(ctx),
    vms: deps.registry,
    stopUnused: (id, options) => stopUnused(ctx, id, options),
    start() {
      const recovery = deps.lifecycle.recover();
      void keepTrack(ctx, recovery.finished.then(() => undefined, () => undefined));
      watcher.start();
      return recovery;
    },
    async close() {
      watcher.stop();
      // Recovery, teardowns and leases under way: half of one is work for the next daemon, so let them end.
      while (ctx.background.size > 0) await Promise.all(ctx.background);
    },
    counts() {
      // Asked each second while nobody is connected: only VMs with something going on are looked at.
      const states = ctx.store.vms.unsettled().map((record) => deriveState(record, liveProcess(ctx, record.id) !== undefined));
      // A paused VM counts as running, and one on its way up or down keeps the daemon, too.
      return { total: ctx.store.vms.names().length, running: states.filter((state) => state === 'running' || state === 'starting' || state === 'stopping').length };
    },
    leaks: (signal) => deps.lifecycle.leaks(signal),
    reclaim: (call) => deps.lifecycle.reclaim(call),
  };
}
