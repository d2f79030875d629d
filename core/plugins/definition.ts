// A plugin before it is set up, and what is wrong with its definition.
import { nameIssues } from '../names.ts';
import type { PluginDefinition } from '../plugin-api.ts';

// oxlint-disable-next-line typescript/no-explicit-any -- a list holds plugins of all configurations and capabilities
export type AnyPlugin = PluginDefinition<any, any, any, any>;

export interface Candidate {
  readonly definition: AnyPlugin;
  /** `builtin`, or where it was loaded from. */
  readonly source: string;
  readonly thirdParty: boolean;
}

/** Nouns of core's and the built-ins' methods: a third-party plugin of such a name would own them. */
export const reservedNouns: readonly string[] = ['vm', 'image', 'kernel', 'daemon', 'plugin', 'doctor'];
/** Keys of `[plugins]` itself, the owner of core's own registrations, and the protocol's method prefix. */
const reservedNames: readonly string[] = ['disabled', 'required', 'load', 'core', 'rpc'];

/** What is wrong with a value that claims to be a plugin definition; `undefined` when it is good. */
export function definitionProblem(value: unknown, thirdParty: boolean): string | undefined {
  if (typeof value !== 'object' || value === null) return 'it has no default export made by definePlugin';
  const plugin = value as Partial<AnyPlugin>;
  if (typeof plugin.name !== 'string') return 'it has no name';
  const issue = nameIssues(plugin.name)[0];
  if (issue) return `its name ${JSON.stringify(plugin.name)} ${issue.message}`;
  if (reservedNames.includes(plugin.name) || (thirdParty && reservedNouns.includes(plugin.name))) return `the name ${plugin.name} is reserved`;
  if (plugin.apiVersion !== 1) return `it is written for plugin API version ${String(plugin.apiVersion)}; this banger has version 1`;
  if (typeof plugin.version !== 'string' || typeof plugin.summary !== 'string') return 'version and summary must be text';
  if (typeof plugin.setup !== 'function') return 'it has no setup function';
  if (!isSchema(plugin.config)) return 'its config is not a zod schema';
  if (thirdParty && plugin.configKey !== undefined) return 'only built-in plugins may take a key outside of their section';
  return sectionProblem(plugin.spec);
}

const isSchema = (value: unknown): boolean => typeof (value as { safeParse?: unknown } | undefined)?.safeParse === 'function';

function sectionProblem(spec: AnyPlugin['spec']): string | undefined {
  if (spec === undefined) return undefined;
  if (!isSchema(spec.schema) || !Array.isArray(spec.flags)) return 'its spec needs schema and flags';
  // VMs made before the plugin was there get the section from nothing.
  return spec.schema.safeParse({}).success ? undefined : 'every key of its spec schema needs a default';
}

/** Flags and commands are the CLI's name space, which all plugins share. Gives a function that says what a plugin would take from others. */
export function createCliNames(reservedFlags: readonly string[]): (definition: AnyPlugin) => string | undefined {
  const owners = new Map<string, string>(reservedFlags.map((flag) => [`flag --${flag}`, 'core']));
  return (definition) => {
    const wanted = [
      ...(definition.spec?.flags ?? []).map((flag) => `flag --${flag.name}`),
      ...(definition.commands ?? []).map((command) => `command ${command.path.join(' ')}`),
    ];
    const repeated = wanted.find((name, index) => wanted.indexOf(name) !== index);
    if (repeated !== undefined) return `it declares ${repeated} twice`;
    const taken = wanted.find((name) => owners.has(name));
    if (taken !== undefined) return `${taken} belongs to ${owners.get(taken) ?? ''}`;
    for (const name of wanted) owners.set(name, definition.name);
    return undefined;
  };
}
