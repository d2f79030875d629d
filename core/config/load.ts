// Reads the configuration in two stages: core's own keys here; the plugins' sections are checked by the plugin host, which knows
// the plugins only after `plugins.load` was read. Problems of both stages are reported together.
import { readFileSync } from 'node:fs';
import { operationFailed } from '../errors.ts';
import type { Issue } from '../errors.ts';
import { logLevels } from '../log.ts';
import type { LogLevel } from '../log.ts';
import type { InitMode } from '../model.ts';
import { hostDefaults, hostSize } from './defaults.ts';
import type { HostSize } from './defaults.ts';
import { issuesOf, joinPath } from './issues.ts';
import { coreSchema } from './schema.ts';
import { didYouMean } from './suggest.ts';
import { isTable, parseToml } from './toml.ts';
import type { Table } from './toml.ts';

export interface CoreConfig {
  readonly logLevel: LogLevel;
  readonly daemon: { readonly idleExitMinutes: number };
  readonly vmDefaults: {
    readonly vcpu: number;
    readonly memoryMiB: number;
    readonly image?: string;
    readonly kernel?: string;
    readonly driver?: string;
    readonly init: InitMode;
  };
  readonly plugins: { readonly disabled: readonly string[]; readonly required: readonly string[]; readonly load: readonly string[] };
}

/** Where a value came from. `host`: computed from the host's size. */
export type ConfigSource = 'default' | 'host' | 'file' | 'environment';
export interface ConfigValue { readonly value: unknown; readonly source: ConfigSource }

export interface Config {
  readonly file: string;
  readonly exists: boolean;
  /** With defaults in place of what was wrong; use it only when there are no issues. */
  readonly core: CoreConfig;
  /** Tables `[plugins.<name>]`, not checked yet. */
  readonly sections: ReadonlyMap<string, Table>;
  /** Values of the keys that plugins take beside their sections, not checked yet. */
  readonly pluginKeys: ReadonlyMap<string, unknown>;
  /** Every core value by its dotted key. */
  readonly values: ReadonlyMap<string, ConfigValue>;
  /** Problems of core's keys. The plugin host reports them together with those of the sections. */
  readonly issues: readonly Issue[];
}

export interface LoadConfigOptions {
  readonly file: string;
  /** @default process.env */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** @default this host */
  readonly host?: HostSize;
  /** Keys outside of `[plugins]` that belong to plugins. @default none */
  readonly pluginKeys?: readonly string[];
}

/** A missing file is an empty one. @throws config_invalid when it is not TOML; operation_failed when it cannot be read */
export function loadConfig(options: LoadConfigOptions): Config {
  const text = readConfig(options.file);
  const { core: rawAll, sections, issues } = split(text === undefined ? {} : parseToml(text, options.file));
  const { core: rawCore, taken: pluginKeys } = takeKeys(rawAll, options.pluginKeys ?? []);
  const env = readEnv(options.env ?? process.env);
  const parsed = coreSchema.safeParse(rawCore);
  const checked = parsed.success ? parsed.data : parseGoodParts(rawCore);
  if (!parsed.success) issues.push(...issuesOf(parsed.error, coreSchema, { known: options.pluginKeys ?? [] }));
  const { vm_defaults: vm, daemon, plugins } = checked;
  const host = hostDefaults(options.host ?? hostSize());
  const core: CoreConfig = {
    logLevel: env.logLevel ?? checked.log_level,
    daemon: { idleExitMinutes: daemon.idle_exit_minutes },
    vmDefaults: {
      vcpu: vm.vcpu ?? host.vcpu, memoryMiB: vm.memory_mib ?? host.memoryMiB, init: vm.init,
      ...(vm.image === undefined ? {} : { image: vm.image }),
      ...(vm.kernel === undefined ? {} : { kernel: vm.kernel }),
      ...(vm.driver === undefined ? {} : { driver: vm.driver }),
    },
    plugins,
  };
  const values = new Map(valuesOf(checked, rawCore));
  if (vm.vcpu === undefined) values.set('vm_defaults.vcpu', { value: host.vcpu, source: 'host' });
  if (vm.memory_mib === undefined) values.set('vm_defaults.memory_mib', { value: host.memoryMiB, source: 'host' });
  if (env.logLevel) values.set('log_level', { value: env.logLevel, source: 'environment' });
  return { file: options.file, exists: text !== undefined, core, sections, pluginKeys, values, issues: [...issues, ...env.issues] };
}

/** The top-level keys that are right by themselves, so that the names in `[plugins]` are checked in the same round. */
function parseGoodParts(raw: Table): ReturnType<typeof coreSchema.parse> {
  const good = Object.entries(coreSchema.shape).filter(([key, part]) => part.safeParse(raw[key]).success).map(([key]) => [key, raw[key]] as const);
  return coreSchema.parse(Object.fromEntries(good));
}

function readConfig(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw operationFailed(`Configuration ${file} cannot be read`, { cause: error });
  }
}

/** Takes the tables of plugins out, so that the schema of core sees its own keys only. */
function split(raw: Table): { core: Table; sections: Map<string, Table>; issues: Issue[] } {
  const sections = new Map<string, Table>();
  const issues: Issue[] = [];
  if (!isTable(raw['plugins'])) return { core: raw, sections, issues };
  const own: Record<string, unknown> = {};
  const keys = Object.keys(coreSchema.shape.plugins.def.innerType.shape);
  for (const [key, value] of Object.entries(raw['plugins'])) {
    if (keys.includes(key)) own[key] = value;
    else if (isTable(value)) sections.set(key, value);
    else issues.push({ path: joinPath(['plugins', key]), message: `unknown key${didYouMean(key, keys)}; the section of a plugin is a table [plugins.<name>]` });
  }
  return { core: { ...raw, plugins: own }, sections, issues };
}

/** Takes out what belongs to plugins though it is not in their sections. */
function takeKeys(raw: Table, keys: readonly string[]): { readonly core: Table; readonly taken: ReadonlyMap<string, unknown> } {
  const taken = new Map(Object.entries(raw).filter(([key]) => keys.includes(key)));
  return { core: Object.fromEntries(Object.entries(raw).filter(([key]) => !taken.has(key))), taken };
}

function readEnv(env: Readonly<Record<string, string | undefined>>): { readonly logLevel?: LogLevel; readonly issues: Issue[] } {
  const text = env['BANGER_LOG_LEVEL'];
  if (text === undefined || text === '') return { issues: [] };
  const logLevel = logLevels.find((level) => level === text);
  if (logLevel) return { logLevel, issues: [] };
  return { issues: [{ path: 'BANGER_LOG_LEVEL', message: `must be one of ${logLevels.join(', ')}${didYouMean(text, logLevels)}` }] };
}

/** Leaves of a parsed table by dotted key, none for an empty one; a leaf that the file does not hold came from the schema's default. */
export function* valuesOf(parsed: unknown, raw: unknown, prefix: readonly string[] = []): Generator<[string, ConfigValue]> {
  if (isTable(parsed)) {
    for (const [key, value] of Object.entries(parsed)) {
      if (value !== undefined) yield* valuesOf(value, isTable(raw) ? raw[key] : undefined, [...prefix, key]);
    }
  } else {
    yield [joinPath(prefix), { value: parsed, source: raw === undefined ? 'default' : 'file' }];
  }
}
