// The daemon: boot, serve, close, and nothing else. It names no feature; those come as plugins from the composition root.
import type { CliSpec, DaemonStatus } from './api.ts';
import { protocolVersion } from './api.ts';
import { buildInfo } from './build-info.ts';
import { Activity, Exec, GuestAgent, HostInfo, Images, Kernels, Operations, Processes, VmTeardown, VmUse, Vms, VmmDriver, VmRecovery } from './capabilities.ts';
import { loadConfig } from './config/load.ts';
import { createDaemonParts } from './daemon/parts.ts';
import type { DaemonParts } from './daemon/parts.ts';
import { watchIdle } from './daemon/idle-exit.ts';
import { daemonMethodNames, registerDaemonMethods } from './daemon/methods.ts';
import { clearStartError } from './daemon/start-error.ts';
import { takeStateDir } from './daemon/take-over.ts';
import { createDisposer } from './dispose.ts';
import type { Disposer } from './dispose.ts';
import { createCoreChecks } from './doctor/core-checks.ts';
import { runDoctor } from './doctor/run.ts';
import { missingRequirement } from './errors.ts';
import type { FaultPoints } from './lifecycle/faults.ts';
import { createLifecycle } from './lifecycle/lifecycle.ts';
import { ensureDirs, resolvePaths } from './paths.ts';
import type { Capability } from './plugin-api.ts';
import type { AnyPlugin } from './plugins/definition.ts';
import { bootPlugins, provision } from './plugins/host.ts';
import type { PluginHost } from './plugins/host.ts';
import { createRegistry } from './rpc/registry.ts';
import { createRpcServer } from './rpc/server.ts';
import type { RpcServer } from './rpc/server.ts';
import { createBaseMachine } from './vm/base-machine.ts';
import { createVmService } from './vm/service.ts';
import type { VmService } from './vm/service.ts';

export interface DaemonOptions {
  /** Built-in plugins, in order. */
  readonly plugins: readonly AnyPlugin[];
  /** Flags of `run`, `create` and `set` that the command line has itself. */
  readonly reservedFlags?: readonly string[];
  /** Points at which a test's composition root ends or fails the daemon. */
  readonly faults?: FaultPoints;
  /** @default process.env */
  readonly env?: Readonly<Record<string, string | undefined>>;
}
export interface Daemon {
  /** Resolves when it has closed, whoever asked for it. */
  readonly closed: Promise<void>;
  /** VMs run on. Safe to call twice. */
  close(): Promise<void>;
}

/**
 * Boots the daemon and serves.
 *
 * @throws busy when another daemon owns the state directory; config_invalid; plugin_failed for a required plugin; what `openStore` throws.
 * Whatever was begun is ended then.
 */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const paths = resolvePaths(options.env);
  ensureDirs(paths);
  const disposer = createDisposer({ limitMs: 20_000 });
  try {
    const lock = await takeStateDir(paths);
    disposer.add('state lock', () => lock.release());
    clearStartError(paths);
    const pluginKeys = options.plugins.flatMap((plugin) => plugin.configKey ?? []);
    const config = loadConfig({ file: paths.configFile, pluginKeys, ...(options.env === undefined ? {} : { env: options.env }) });
    const parts = createDaemonParts({ paths, config, disposer });
    return await serve(options, parts, disposer);
  } catch (error) {
    await disposer.close();
    throw error;
  }
}

async function serve(options: DaemonOptions, parts: DaemonParts, disposer: Disposer): Promise<Daemon> {
  const { paths, log, config, store } = parts;
  const startedAt = new Date().toISOString();
  const host = await boot(options, parts);
  disposer.add('plugins', async () => {
    await host.close();
  });
  const service = createService(options, parts, host);
  parts.teardown.serve(service.stopUnused);
  const registry = createRegistry();
  let closing: Promise<void> | undefined;
  let markClosed: () => void = () => undefined;
  const closed = new Promise<void>((resolve) => {
    markClosed = resolve;
  });
  const close = (): Promise<void> => (closing ??= (async () => {
    log.info('daemon ends');
    await disposer.close();
    markClosed();
  })());

  const status = (): DaemonStatus => ({
    pid: process.pid, version: buildInfo().version, build: buildInfo().build, protocol: protocolVersion, startedAt,
    socket: paths.socket, stateDir: paths.stateDir, installId: store.installId, configFile: paths.configFile, logFile: paths.daemonLog,
    vms: service.counts(), operations: parts.operations.running, memoryRssBytes: process.memoryUsage.rss(),
  });
  const cli = (): CliSpec => ({
    flags: host.specSections().flatMap(({ plugin, section }) => section.flags.map((flag) => ({ ...flag, section: plugin }))),
    commands: host.commands(),
  });
  const coreChecks = createCoreChecks({ paths, config, configValues: host.configValues, store, logFile: paths.daemonLog });
  registerDaemonMethods(registry, {
    version: buildInfo().version, build: buildInfo().build, status, cli,
    plugins: () => host.statuses(),
    doctor: (signal) => runDoctor({ host, coreChecks, signal }),
    leaks: (signal) => service.leaks(signal),
    reclaim: (call) => service.reclaim(call),
    // After this turn, so that the answer is on its way; `close` waits for it.
    stop: () => setImmediate(() => void close()),
  });
  for (const [name, method] of Object.entries(service.methods)) registry.register('core', name, method);
  for (const { owner, name, method } of host.registrations.methods) registry.register(owner, name, method);
  registry.freeze();

  const isIdle = (): boolean => parts.operations.running === 0 && parts.activity.held === 0 && server.stats().calls <= 1;
  // Others' leases, commands and followed logs would end with a restart, so another client is enough to be busy.
  const isReplaceable = (): boolean => isIdle() && server.clients() <= 1;
  const server: RpcServer = createRpcServer({
    registry, socketPath: paths.socket, log, operationRunner: parts.operations.runner,
    hello: { version: buildInfo().version, build: buildInfo().build, idle: isReplaceable },
  });
  const recovery = service.start();
  disposer.add('VM service', () => service.close());
  disposer.add('operations', () => parts.operations.close());
  await server.listen();
  disposer.add('RPC server', () => server.close());
  disposer.add('idle watch', watchIdle({
    afterMs: config.core.daemon.idleExitMinutes * 60_000,
    isIdle: () => server.clients() === 0 && isIdle() && service.counts().running === 0,
    exit: () => void close(),
  }));
  recovery.finished.catch((error: unknown) => log.error({ err: error }, 'recovery failed'));
  log.info({ pid: process.pid, build: buildInfo().build, socket: paths.socket }, 'daemon serves');
  return { closed, close };
}

function boot(options: DaemonOptions, parts: DaemonParts): Promise<PluginHost> {
  return bootPlugins({
    builtins: options.plugins,
    config: parts.config,
    core: [
      provision(Exec, parts.exec), provision(Processes, parts.processes), provision(Vms, parts.vms),
      provision(HostInfo, parts.hostInfo), provision(Operations, parts.operations), provision(Activity, parts.activity),
      provision(VmUse, parts.use), provision(VmTeardown, parts.teardown),
    ],
    log: parts.log,
    paths: parts.paths,
    createJobRunner: (plugin, job) => parts.jobs.register(plugin, job),
    coreMethods: [...daemonMethodNames],
    reservedFlags: options.reservedFlags ?? [],
  });
}

function createService(options: DaemonOptions, parts: DaemonParts, host: PluginHost): VmService {
  const { store, paths, log, processes, locks } = parts;
  const need = <T>(cap: Capability<T>, what: string) => (): T => {
    const value = host.capability(cap) as T | undefined;
    if (value === undefined) throw missingRequirement(`No plugin provides ${what} (${cap.id})`, 'banger plugin list shows which are disabled, skipped or failed');
    return value;
  };
  const images = need(Images, 'images');
  const kernels = need(Kernels, 'kernels');
  const { registrations } = host;
  const lifecycle = createLifecycle({
    store, paths, log, processes, locks, hostInfo: parts.hostInfo, jobs: parts.jobs,
    steps: registrations.steps, contributions: registrations.contributions, resources: registrations.resources,
    base: createBaseMachine({ images, kernels }),
    announce: (kind, vm) => parts.vms.announce(kind, vm),
    takeEnd: (vmId) => parts.vms.takeEnd(vmId),
    ...(options.faults === undefined ? {} : { faults: options.faults }),
  });
  return createVmService({
    store, paths, log, processes, locks, lifecycle, registry: parts.vms, use: parts.use, operations: parts.operations,
    stopSteps: registrations.stopSteps, reconfigurers: registrations.reconfigurers, sections: host.specSections(),
    images, kernels, agent: need(GuestAgent, 'a guest agent'),
    drivers: () => host.capabilities(VmmDriver), recoveries: () => host.capabilities(VmRecovery),
    defaults: parts.config.core.vmDefaults,
    backgroundLimitMs: 5_000 * parts.hostInfo.slowdown,
  });
}
