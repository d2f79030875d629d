// The first half of boot: which plugins there are, which of them may run, and their configuration. No plugin code runs here.
import { didYouMean } from '../config/suggest.ts';
import { issuesOf, joinPath } from '../config/issues.ts';
import { valuesOf } from '../config/load.ts';
import type { Config, ConfigValue } from '../config/load.ts';
import type { Table } from '../config/toml.ts';
import { BangerError, configInvalid, pluginFailed } from '../errors.ts';
import type { Issue } from '../errors.ts';
import type { Logger } from '../plugin-api.ts';
import { createCliNames, definitionProblem } from './definition.ts';
import type { AnyPlugin } from './definition.ts';
import type { Discovered } from './discover.ts';
import { rule } from './status.ts';
import type { PluginRecord } from './status.ts';

export interface CollectInput {
  readonly builtins: readonly AnyPlugin[];
  readonly discovered: readonly Discovered[];
  readonly config: Config;
  readonly reservedFlags: readonly string[];
  readonly log: Logger;
}
export interface Collected {
  /** Built-ins first, each list in its order. */
  readonly records: readonly PluginRecord[];
  /** Values of the parsed sections by dotted key. */
  readonly values: ReadonlyMap<string, ConfigValue>;
}

/** @throws config_invalid with every problem of the file; internal for a mistake in a built-in plugin */
export async function collectPlugins(input: CollectInput): Promise<Collected> {
  const records = [...input.builtins.map(builtinRecord), ...input.discovered.map((found) => foreignRecord(found, input.log))];
  const { core } = input.config;
  refuseDuplicates(records);
  for (const record of records) if (core.plugins.disabled.includes(record.name)) rule(record, 'disabled');
  refuseTakenCliNames(records, input.reservedFlags);
  const issues = [...input.config.issues, ...nameProblems(records, input)];
  const values = new Map<string, ConfigValue>();
  for (const record of records) {
    if (record.state === 'ready') issues.push(...await parseSection(record, { config: input.config, values }));
  }
  if (issues.length > 0) throw configInvalid(input.config.file, issues);
  return { records, values };
}

function builtinRecord(definition: AnyPlugin): PluginRecord {
  const problem = definitionProblem(definition, false);
  if (problem !== undefined) throw new BangerError('internal', `A built-in plugin is wrong: ${problem}`);
  return { name: definition.name, source: 'builtin', thirdParty: false, definition, state: 'ready' };
}

function foreignRecord(found: Discovered, log: Logger): PluginRecord {
  if ('definition' in found) return { name: found.definition.name, source: found.source, thirdParty: true, definition: found.definition, state: 'ready' };
  log.error({ plugin: found.name, source: found.source, err: found.cause }, `plugin cannot be used: ${found.problem}`);
  return { name: found.name, source: found.source, thirdParty: true, state: 'failed', reason: found.problem };
}

/** Blames a third-party plugin; a mistake of a built-in is one in banger itself. */
function blame(record: PluginRecord, reason: string): void {
  if (!record.thirdParty) throw new BangerError('internal', `Built-in plugin ${record.name}: ${reason}`);
  rule(record, 'failed', reason);
}

function refuseDuplicates(records: readonly PluginRecord[]): void {
  const seen = new Map<string, PluginRecord>();
  for (const record of records) {
    const first = seen.get(record.name);
    if (first && record.definition) blame(record, `the name ${record.name} is taken by the plugin from ${first.source}`);
    else seen.set(record.name, record);
  }
}

function refuseTakenCliNames(records: readonly PluginRecord[], reservedFlags: readonly string[]): void {
  const claim = createCliNames(reservedFlags);
  for (const record of records) {
    if (record.state !== 'ready' || !record.definition) continue;
    const problem = claim(record.definition);
    if (problem !== undefined) blame(record, problem);
  }
}

/** Names in the configuration that fit no plugin. With a plugin that could not be loaded, a name may be its own: then it is only logged. */
function nameProblems(records: readonly PluginRecord[], { config, log }: CollectInput): Issue[] {
  const known = records.map((record) => record.name);
  const { disabled, required } = config.core.plugins;
  const unknown = [
    ...[...config.sections.keys()].map((name) => ({ path: joinPath(['plugins', name]), name, what: 'unknown plugin' })),
    ...disabled.map((name, n) => ({ path: `plugins.disabled.${n}`, name, what: `unknown plugin ${name}` })),
    ...required.map((name, n) => ({ path: `plugins.required.${n}`, name, what: `unknown plugin ${name}` })),
  ].filter(({ name }) => !known.includes(name)).map(({ path, name, what }) => ({ path, message: `${what}${didYouMean(name, known)}` }));
  const both = required.flatMap((name, n) => (disabled.includes(name) ? [{ path: `plugins.required.${n}`, message: `plugin ${name} is disabled too` }] : []));
  if (records.some((record) => record.definition === undefined)) {
    const isRequired = (issue: Issue): boolean => issue.path.startsWith('plugins.required');
    for (const issue of unknown.filter((other) => !isRequired(other))) log.warn({ path: issue.path }, `configuration names an ${issue.message}`);
    return [...unknown.filter(isRequired), ...both];
  }
  return [...unknown, ...both];
}

interface SectionInput { readonly config: Config; readonly values: Map<string, ConfigValue> }

/** Problems of a third-party plugin that is not required are its own; all others refuse the start. */
async function parseSection(record: PluginRecord, { config, values }: SectionInput): Promise<readonly Issue[]> {
  const schema = record.definition?.config as AnyPlugin['config'];
  const { raw, issues: own, path } = sectionOf(record, config);
  const prefix = ['plugins', record.name];
  const isOwn = record.thirdParty && !config.core.plugins.required.includes(record.name);
  try {
    const parsed = await schema.safeParseAsync(raw);
    if (parsed.success) {
      record.config = deepFreeze(parsed.data);
      for (const [key, value] of valuesOf(parsed.data, raw, prefix)) values.set(path(key), value);
      return own;
    }
    const issues = [...own, ...issuesOf(parsed.error, schema, { prefix }).map((issue) => ({ ...issue, path: path(issue.path) }))];
    if (!isOwn) return issues;
    rule(record, 'failed', configReason(issues));
  } catch (error) {
    if (!isOwn) throw pluginFailed(record.name, 'its configuration schema does not work', error);
    rule(record, 'failed', `its configuration schema does not work: ${error instanceof Error ? error.message : String(error)}`);
  }
  return [];
}

interface Section {
  readonly raw: Table;
  readonly issues: readonly Issue[];
  /** Where the person wrote what has this path in the plugin's section. */
  readonly path: (path: string) => string;
}

/** What the file says for a plugin: its section, and its key beside the sections as `entries`. */
function sectionOf({ name, definition }: PluginRecord, config: Config): Section {
  const raw = config.sections.get(name) ?? {};
  const key = definition?.configKey;
  if (key === undefined) return { raw, issues: [], path: (path) => path };
  const start = joinPath(['plugins', name, 'entries']);
  const issues = 'entries' in raw ? [{ path: start, message: `unknown key; write ${key} at the top of the file` }] : [];
  const value = config.pluginKeys.get(key);
  return {
    raw: value === undefined ? { ...raw, entries: undefined } : { ...raw, entries: value }, issues,
    // An entry is one of a list, which TOML writes without numbers: entries are counted from 0, as in other tools' messages.
    path: (path) => (path === start || path.startsWith(`${start}.`) ? `${key}${path.slice(start.length).replaceAll(/\.(\d+)(?=\.|$)/g, '[$1]')}` : path),
  };
}

const configReason = (issues: readonly Issue[]): string => `its configuration is wrong: ${issues.map((issue) => `${issue.path}: ${issue.message}`).join('; ')}`;

/** Plain objects and lists; what a schema made of other classes stays as it is. */
function deepFreeze(value: unknown): unknown {
  const isPlain = Array.isArray(value) || (typeof value === 'object' && value !== null
    && (Object.getPrototypeOf(value) === Object.prototype || Object.getPrototypeOf(value) === null));
  if (!isPlain) return value;
  for (const item of Object.values(value as object)) deepFreeze(item);
  return Object.freeze(value);
}
