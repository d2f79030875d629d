// Store, plugin host, lifecycle and VM service in one process, as the daemon wires them, on fake VMs. `crash` forgets all of it
// without any tidying, as kill -9 would, and `boot` begins again on the same state directory.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { VmCreateParams, VmView } from '../../core/api.ts';
import {
  Activity, Exec, GuestAgent, HostInfo, Images, Kernels, Operations, Processes, VmTeardown, VmUse, VmmDriver, VmRecovery, Vms,
} from '../../core/plugin-api.ts';
import type { CallContext, FrameStream, Logger, PluginDefinition, TimelineEntry } from '../../core/plugin-api.ts';
import type { Clock } from '../../core/clock.ts';
import { loadConfig } from '../../core/config/load.ts';
import { createActivity } from '../../core/daemon/activity.ts';
import { createExec } from '../../core/exec.ts';
import { missingRequirement } from '../../core/errors.ts';
import { createJobRunner } from '../../core/lifecycle/jobs.ts';
import type { JobRunner } from '../../core/lifecycle/jobs.ts';
import type { FaultPoints } from '../../core/lifecycle/faults.ts';
import { createLifecycle } from '../../core/lifecycle/lifecycle.ts';
import type { Lifecycle } from '../../core/lifecycle/lifecycle.ts';
import { createKeyedLock } from '../../core/lock.ts';
import type { KeyedLock } from '../../core/lock.ts';
import { createOperations } from '../../core/operations/operations.ts';
import type { OperationRegistry } from '../../core/operations/operations.ts';
import { ensureDirs, resolvePaths } from '../../core/paths.ts';
import type { Paths } from '../../core/paths.ts';
import { bootPlugins, provision } from '../../core/plugins/host.ts';
import type { PluginHost } from '../../core/plugins/host.ts';
import { createProcesses } from '../../core/process.ts';
import { openStore } from '../../core/store/store.ts';
import type { Store } from '../../core/store/store.ts';
import { createBaseMachine } from '../../core/vm/base-machine.ts';
import { createToVm } from '../../core/vm/record.ts';
import { createVmRegistry } from '../../core/vm/registry.ts';
import type { VmRegistry } from '../../core/vm/registry.ts';
import { createVmService } from '../../core/vm/service.ts';
import type { VmService } from '../../core/vm/service.ts';
import { createTeardown } from '../../core/vm/stop-unused.ts';
import { createVmUse } from '../../core/vm/use.ts';
import type { VmUseCount } from '../../core/vm/use.ts';
import { memoryLog } from './rpc-fixture.ts';
import type { LogLine } from './rpc-fixture.ts';

export interface TestDaemon {
  readonly store: Store;
  readonly paths: Paths;
  readonly host: PluginHost;
  readonly jobs: JobRunner;
  readonly lifecycle: Lifecycle;
  readonly service: VmService;
  readonly registry: VmRegistry;
  readonly use: VmUseCount;
  readonly locks: KeyedLock;
  readonly operations: OperationRegistry;
  readonly processes: Processes;
  readonly log: readonly LogLine[];
  /** Calls a method of core as the RPC server would, operation and all. */
  call<R = { vm: VmView }>(method: string, params: object, call?: Partial<CallContext>): Promise<R>;
  create(params?: VmCreateParams, call?: Partial<CallContext>): Promise<VmView>;
  /** Gone without a word; nothing on the host changes. */
  crash(): void;
}
export interface BootOptions {
  /** Made anew at each boot, as a new process would. */
  readonly plugins: () => readonly PluginDefinition[];
  readonly faults?: FaultPoints;
  readonly dir: string;
  /** By which the use of VMs is measured. @default the system's */
  readonly clock?: Clock;
  /** `VmServiceDeps.backgroundLimitMs`. */
  readonly backgroundLimitMs?: number;
}

let calls = 0;

/** State directory of one test; what bears its marks is ended with the test. */
export function tempState(): string {
  const dir = mkdtempSync(join(tmpdir(), 'banger-vm-'));
  onTestFinished(() => { rmSync(dir, { recursive: true, force: true }); });
  return dir;
}

export async function bootTestDaemon(options: BootOptions): Promise<TestDaemon> {
  const paths = resolvePaths({ XDG_STATE_HOME: options.dir, XDG_CACHE_HOME: options.dir, XDG_CONFIG_HOME: options.dir }, process.getuid?.() ?? 0);
  ensureDirs(paths);
  const lines: LogLine[] = [];
  const log = memoryLog(lines);
  const store = openStore(paths.stateDir);
  const processes = createProcesses();
  const hostInfo = createHostInfo(store, paths);
  const locks = createKeyedLock();
  const registry = createVmRegistry({ store, processes, toVm: createToVm(store.installId, paths), log, locks });
  const use = createVmUse(registry, options.clock);
  const teardown = createTeardown();
  const operations = createOperations({ store: store.operations, log });
  const jobs = createJobRunner({ store, processes, log });
  const config = loadConfig({ file: paths.configFile, env: {} });
  const host = await bootPlugins({
    builtins: options.plugins(), config, log, paths, createJobRunner: (plugin, job) => jobs.register(plugin, job),
    core: [
      provision(Exec, createExec()), provision(Processes, processes), provision(HostInfo, hostInfo), provision(Vms, registry),
      provision(Operations, operations), provision(Activity, createActivity()),
      provision(VmUse, use), provision(VmTeardown, teardown),
    ],
  });
  const images = (): Images => host.capability(Images) ?? missing('images');
  const kernels = (): Kernels => host.capability(Kernels) ?? missing('kernels');
  const lifecycle = createLifecycle({
    ...host.registrations, store, paths, log, processes, hostInfo, locks, jobs,
    base: createBaseMachine({ images, kernels }), announce: registry.announce, takeEnd: registry.takeEnd,
    ...(options.faults === undefined ? {} : { faults: options.faults }),
  });
  const service = createVmService({
    ...host.registrations, store, paths, log, processes, locks, lifecycle, registry, use, operations, sections: host.specSections(),
    images, kernels, agent: () => host.capability(GuestAgent) ?? missing('guest agent'), drivers: () => host.capabilities(VmmDriver),
    recoveries: () => host.capabilities(VmRecovery),
    defaults: { vcpu: 1, memoryMiB: 64, init: 'auto' }, ...(options.backgroundLimitMs === undefined ? {} : { backgroundLimitMs: options.backgroundLimitMs }),
  });
  teardown.serve(service.stopUnused);
  const daemon: TestDaemon = {
    store, paths, host, jobs, lifecycle, service, registry, use, locks, operations, processes, log: lines,
    async call<R>(name: string, params: object, more: Partial<CallContext> = {}): Promise<R> {
      const method = service.methods[name];
      if (method === undefined) throw new Error(`no method ${name}`);
      const call = makeCall({ log, ...more });
      const parsed: unknown = method.params.parse(params);
      const result: unknown = method.operation === undefined ? await method.handler(parsed, call)
        : await operations.runner({ name, kind: method.operation }, parsed, call, async (inner) => method.handler(parsed, inner) as unknown);
      return method.result.parse(result) as R;
    },
    create: async (params = {}, call = {}) => (await daemon.call('vm.create', params, call)).vm,
    crash() {
      void service.close();
      store.close();
    },
  };
  onTestFinished(async () => {
    await service.close();
    for (const { process } of processes.findByMark(`${store.installId}/`, { prefix: true })) await processes.end(process, { graceMs: 0 });
    await host.close();
    store.close();
  });
  return daemon;
}

function missing(what: string): never {
  throw missingRequirement(`No plugin provides ${what}`, 'banger plugin list');
}

function createHostInfo(store: Store, paths: Paths): HostInfo {
  return {
    installId: store.installId, stateDir: paths.stateDir, cacheDir: paths.cacheDir, nativeDir: '/nonexistent', uid: paths.uid,
    socketPath: paths.socketPath, vmUid: () => undefined, slowdown: 1,
  };
}

/** A peer whose connection a test closes. */
export interface TestPeer {
  readonly peer: CallContext['peer'];
  close(): void;
  readonly offers: ((stream: FrameStream) => void)[];
  /** Of each offer: its client never came. */
  readonly expiries: (() => void)[];
}

export function makePeer(): TestPeer {
  const listeners = new Set<() => void>();
  const offers: ((stream: FrameStream) => void)[] = [];
  const expiries: (() => void)[] = [];
  return {
    offers, expiries,
    peer: {
      id: 'test',
      onClose(listener) { listeners.add(listener); return () => { listeners.delete(listener); }; },
      offerStream(open, expired) { offers.push(open); expiries.push(expired); return `ticket-${offers.length}`; },
    },
    close() { for (const listener of listeners) listener(); },
  };
}

export interface Recorded { readonly stages: string[]; readonly timeline: TimelineEntry[] }

/** A call context that records; everything can be replaced. */
export function makeCall(more: Partial<CallContext> & { readonly log: Logger; readonly recorded?: Recorded }): CallContext {
  calls += 1;
  const { recorded, ...rest } = more;
  return {
    opId: `op-test${calls}`, signal: new AbortController().signal, peer: makePeer().peer,
    stage: (name) => { recorded?.stages.push(name); }, timeline: (entry) => { recorded?.timeline.push(entry); }, ...rest,
  };
}
