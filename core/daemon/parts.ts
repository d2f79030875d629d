// Core's own objects, built once before plugins come and ended after they are gone.
import type { Exec, HostInfo, Processes } from '../capabilities.ts';
import type { Config } from '../config/load.ts';
import { buildParts } from '../container.ts';
import type { Recipes } from '../container.ts';
import type { Disposer } from '../dispose.ts';
import { createExec } from '../exec.ts';
import { createJobRunner } from '../lifecycle/jobs.ts';
import type { JobRunner } from '../lifecycle/jobs.ts';
import { createKeyedLock } from '../lock.ts';
import type { KeyedLock } from '../lock.ts';
import { createLog } from '../log.ts';
import type { Log } from '../log.ts';
import { createOperations } from '../operations/operations.ts';
import type { OperationRegistry } from '../operations/operations.ts';
import type { Paths } from '../paths.ts';
import { createProcesses } from '../process.ts';
import { openStore } from '../store/store.ts';
import type { Store } from '../store/store.ts';
import { createToVm } from '../vm/record.ts';
import { createVmRegistry } from '../vm/registry.ts';
import type { VmRegistry } from '../vm/registry.ts';
import { createTeardown } from '../vm/stop-unused.ts';
import type { LateTeardown } from '../vm/stop-unused.ts';
import { createVmUse } from '../vm/use.ts';
import type { VmUseCount } from '../vm/use.ts';
import { createActivity } from './activity.ts';
import type { ActivityCount } from './activity.ts';
import { createHostInfo } from './host-info.ts';

export interface DaemonParts {
  readonly paths: Paths;
  readonly config: Config;
  readonly log: Log;
  readonly store: Store;
  readonly processes: Processes;
  readonly exec: Exec;
  readonly hostInfo: HostInfo;
  /** By VM id. */
  readonly locks: KeyedLock;
  readonly operations: OperationRegistry;
  readonly vms: VmRegistry;
  readonly use: VmUseCount;
  readonly teardown: LateTeardown;
  readonly jobs: JobRunner;
  readonly activity: ActivityCount;
}

/** @throws what `openStore` throws */
export function createDaemonParts(given: { readonly paths: Paths; readonly config: Config; readonly disposer: Disposer }): DaemonParts {
  const { paths, config, disposer } = given;
  const recipes: Recipes<DaemonParts> = {
    paths: { make: () => paths },
    config: { make: () => config },
    log: { make: () => createLog({ level: config.core.logLevel, to: { file: paths.daemonLog } }), dispose: (log) => log.close() },
    store: { make: () => openStore(paths.stateDir), dispose: (store) => store.close() },
    processes: { make: () => createProcesses() },
    exec: { make: () => createExec() },
    hostInfo: { make: ({ store }) => createHostInfo(paths, store.installId) },
    locks: { make: () => createKeyedLock() },
    operations: { make: ({ store, log }) => createOperations({ store: store.operations, log }) },
    vms: { make: ({ store, processes, log, locks }) => createVmRegistry({ store, processes, log, locks, toVm: createToVm(store.installId, paths) }) },
    use: { make: ({ vms }) => createVmUse(vms) },
    teardown: { make: () => createTeardown() },
    jobs: { make: ({ store, processes, log }) => createJobRunner({ store, processes, log }) },
    activity: { make: () => createActivity() },
  };
  const parts = buildParts(recipes, disposer);
  // The log first: everything after it may speak until the very end.
  void parts.log;
  void parts.store;
  return parts;
}
