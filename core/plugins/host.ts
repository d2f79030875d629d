// Boots the plugins and keeps what they registered: collect, configure, sort, set up one after another, check, freeze.
import { createDisposer, withLimit } from '../dispose.ts';
import type { DisposeFailure, Disposer } from '../dispose.ts';
import type { Config, ConfigValue } from '../config/load.ts';
import { BangerError, pluginFailed } from '../errors.ts';
import type { SectionRegistration } from '../lifecycle/registrations.ts';
import type { Paths } from '../paths.ts';
import type { AnyCapability, Capability, CapabilityValue, CommandSpec, DoctorCheck, Logger, PluginStatus } from '../plugin-api.ts';
import { collectPlugins } from './collect.ts';
import { createContext } from './context.ts';
import type { CreateJobRunner, Provided } from './context.ts';
import type { AnyPlugin } from './definition.ts';
import { discoverPlugins } from './discover.ts';
import { missingReason } from './graph.ts';
import { createRegistrationStore } from './registrations.ts';
import type { RegistrationStore, Registrations } from './registrations.ts';
import { absentNodes, sortPlugins } from './sort.ts';
import { rule, toStatus } from './status.ts';
import type { PluginRecord } from './status.ts';
import { createSupervisor } from './supervisor.ts';
import type { Supervisor, TaskStatus } from './supervisor.ts';

/** A capability that core fills itself. */
export interface Provision { readonly cap: AnyCapability; readonly value: unknown }
export function provision<T>(cap: Capability<T>, value: NoInfer<T>): Provision {
  return { cap, value };
}

export interface BootOptions {
  /** In order, which decides ties of the graph. */
  readonly builtins: readonly AnyPlugin[];
  readonly config: Config;
  readonly core: readonly Provision[];
  readonly log: Logger;
  readonly paths: Paths;
  /** `JobRunner.register` of the lifecycle. */
  readonly createJobRunner: CreateJobRunner;
  /** Names of the methods that core registers itself. */
  readonly coreMethods?: readonly string[];
  /** Flags of `run`, `create` and `set` that the CLI has itself, without dashes. */
  readonly reservedFlags?: readonly string[];
  /** Second place to look for third-party plugins. @default process.cwd() */
  readonly cwd?: string;
  /** @default 10000 */
  readonly setupLimitMs?: number;
  /** Limit of one plugin's end. @default 5000 */
  readonly closeLimitMs?: number;
}

export interface PluginCheck {
  readonly plugin: string;
  readonly check: DoctorCheck<unknown>;
  readonly config: unknown;
}

/** The booted plugins. Everything here is fixed, except the states of tasks. */
export interface PluginHost {
  /** Built-ins first, then third-party plugins, each in the order of its list. */
  statuses(): readonly PluginStatus[];
  /** Frozen; of active plugins in boot order. */
  readonly registrations: Registrations;
  /** `undefined` when no active plugin, nor core, provides it. For `many` slots use `capabilities`. */
  capability<K extends AnyCapability>(cap: K): CapabilityValue<K> | undefined;
  /** Values by plugin name, in boot order. */
  capabilities<K extends AnyCapability>(cap: K): ReadonlyMap<string, CapabilityValue<K>>;
  /** Of every plugin whose configuration is good and that is not disabled: a skipped plugin's checks tell why. */
  checks(): readonly PluginCheck[];
  /** Of active plugins, as are sections. */
  commands(): readonly (CommandSpec & { readonly plugin: string })[];
  specSections(): readonly SectionRegistration[];
  tasks(): readonly TaskStatus[];
  /** Core's values and those of the plugins' sections, by dotted key. */
  readonly configValues: ReadonlyMap<string, ConfigValue>;
  /** Aborts the plugins' signals, ends tasks, then the plugins in reverse boot order, each with a limit. */
  close(): Promise<readonly DisposeFailure[]>;
}

const defaultSetupLimitMs = 10_000;
const defaultCloseLimitMs = 5_000;

/** Everything boot passes from one plugin to the next. */
interface Boot {
  readonly options: BootOptions;
  readonly records: readonly PluginRecord[];
  readonly provided: Provided;
  readonly store: RegistrationStore;
  readonly disposer: Disposer;
  readonly closing: AbortController;
}

/**
 * Sets all plugins up, one after another.
 *
 * @throws config_invalid with all problems of the file; plugin_failed when a required plugin is not active; internal for a mistake
 * in the built-in plugins. What was set up before is ended.
 */
export async function bootPlugins(options: BootOptions): Promise<PluginHost> {
  const setupLimitMs = options.setupLimitMs ?? defaultSetupLimitMs;
  const { file, core: { plugins } } = options.config;
  const discovered = await discoverPlugins({ load: plugins.load, configFile: file, cwd: options.cwd ?? process.cwd(), limitMs: setupLimitMs });
  const { records, values } = await collectPlugins({
    builtins: options.builtins, discovered, config: options.config, reservedFlags: options.reservedFlags ?? [], log: options.log,
  });
  const provided: Provided = new Map(options.core.map(({ cap, value }) => [cap.id, new Map([['core', value]])]));
  const order = sortPlugins(records, new Set(provided.keys()));
  const boot: Boot = {
    options, records, provided, store: createRegistrationStore(options.coreMethods ?? []), closing: new AbortController(),
    disposer: createDisposer({ limitMs: options.closeLimitMs ?? defaultCloseLimitMs }),
  };
  try {
    requireActive(boot, (record) => record.state !== 'ready');
    for (const record of order) {
      await setUp(boot, record);
      requireActive(boot, (other) => other === record);
    }
  } catch (error) {
    await close(boot);
    throw error;
  }
  return createHost(boot, new Map([...options.config.values, ...values]));
}

/** Required plugins are checked as soon as their state is known: the others would be set up for nothing. */
function requireActive({ options, records }: Boot, isKnown: (record: PluginRecord) => boolean): void {
  for (const name of options.config.core.plugins.required) {
    const record = records.find((candidate) => candidate.name === name && isKnown(candidate));
    if (record && record.state !== 'active') {
      throw new BangerError('plugin_failed', `Required plugin ${name} ${record.state === 'failed' ? 'failed' : 'cannot run'}: ${record.reason ?? record.state}`, {
        hint: `repair it, or take it out of plugins.required in ${options.config.file}`,
      });
    }
  }
}

async function setUp(boot: Boot, record: PluginRecord): Promise<void> {
  const { options } = boot;
  const definition = record.definition as AnyPlugin;
  const missing = (definition.requires ?? []).find((cap: AnyCapability) => !boot.provided.has(cap.id));
  if (missing) return rule(record, 'skipped', missingReason(missing.id, absentNodes(boot.records)));
  const log = options.log.child({ plugin: record.name });
  const limitMs = options.setupLimitMs ?? defaultSetupLimitMs;
  const pending = boot.store.pending(record.name, record.thirdParty);
  const disposer = createDisposer({ limitMs: (options.closeLimitMs ?? defaultCloseLimitMs) * 0.6 });
  const own = new AbortController();
  const context = createContext({
    definition, config: record.config, log, paths: options.paths, provided: boot.provided, pending, createJobRunner: options.createJobRunner,
    signal: AbortSignal.any([own.signal, boot.closing.signal]),
    onDispose: (dispose) => disposer.add(`what plugin ${record.name} made`, dispose),
  });
  const startedAt = performance.now();
  try {
    await withLimit(() => definition.setup(context), { limitMs, what: `setup of plugin ${record.name}` });
    requireProvided(definition, pending.provided);
    pending.seal();
    boot.store.apply(pending);
    for (const [id, value] of pending.provided) boot.provided.set(id, new Map([...(boot.provided.get(id) ?? []), [record.name, value]]));
    Object.assign(record, { state: 'active', pending });
    boot.disposer.add(`plugin ${record.name}`, () => closeOne(disposer));
  } catch (error) {
    pending.seal();
    own.abort(error);
    ruleOut(record, error, log);
    await closeOne(disposer).catch((problem: unknown) => log.error({ err: problem }, 'plugin was not ended cleanly after its failed setup'));
  }
  record.setupMs = Math.round(performance.now() - startedAt);
}

function requireProvided(definition: AnyPlugin, provided: ReadonlyMap<string, unknown>): void {
  const missing = (definition.provides ?? []).filter((cap: AnyCapability) => !provided.has(cap.id)).map((cap: AnyCapability) => cap.id);
  if (missing.length > 0) throw pluginFailed(definition.name, `setup did not provide ${missing.join(', ')}`);
}

function ruleOut(record: PluginRecord, error: unknown, log: Logger): void {
  const message = error instanceof Error ? error.message : String(error);
  // By name: a third-party plugin may bring its own copy of the class.
  if (error instanceof Error && error.name === 'SkipPlugin') {
    rule(record, 'skipped', message);
    log.info(`plugin skipped: ${message}`);
  } else {
    rule(record, 'failed', message.replace(`Plugin ${record.name} failed: `, ''));
    log.error({ err: error }, 'plugin failed in setup');
  }
}

async function closeOne(disposer: Disposer): Promise<void> {
  const failures = await disposer.close();
  const errors = failures.map((failure) => failure.error);
  if (errors.length > 0) throw errors.length === 1 ? errors[0] : new AggregateError(errors, `${errors.length} things did not end`);
}

async function close(boot: Boot): Promise<readonly DisposeFailure[]> {
  boot.closing.abort(new BangerError('cancelled', 'The daemon is closing'));
  const failures = await boot.disposer.close();
  for (const { label, error } of failures) boot.options.log.error({ err: error }, `${label} did not end cleanly`);
  return failures;
}

function createHost(boot: Boot, configValues: ReadonlyMap<string, ConfigValue>): PluginHost {
  const { records, provided } = boot;
  const registrations = boot.store.all();
  const supervisor: Supervisor = createSupervisor({ log: boot.options.log });
  // Added last, so ended first: a loop may use what its plugin made.
  boot.disposer.add('background tasks', () => supervisor.close());
  for (const task of registrations.tasks) supervisor.start(task);
  const active = records.flatMap((record) => (record.state === 'active' && record.definition ? [record.definition] : []));
  return {
    statuses: () => records.map(toStatus),
    registrations,
    capability: (cap) => provided.get(cap.id)?.values().next().value as never,
    capabilities: (cap) => new Map(provided.get(cap.id)) as ReadonlyMap<string, unknown> as ReadonlyMap<string, never>,
    checks: () => records.flatMap((record) => (record.config === undefined ? [] : record.definition?.checks ?? [])
      .map((check: DoctorCheck<unknown>) => ({ plugin: record.name, check, config: record.config }))),
    commands: () => active.flatMap((plugin) => (plugin.commands ?? []).map((command: CommandSpec) => ({ ...command, plugin: plugin.name }))),
    specSections: () => active.flatMap((plugin) => (plugin.spec ? [{ plugin: plugin.name, section: plugin.spec }] : [])),
    tasks: () => supervisor.statuses(),
    configValues,
    close: () => close(boot),
  };
}
