// What a plugin's `setup` gets. Everything asked for or registered is checked against the plugin's own definition.
import { pluginFailed } from '../errors.ts';
import type { Paths } from '../paths.ts';
import type { AnyCapability, CapabilityValue, Job, Json, Logger, PluginContext, RunJob } from '../plugin-api.ts';
import type { AnyPlugin } from './definition.ts';
import type { Pending } from './registrations.ts';

/** Capabilities provided so far, by id, then by plugin name (`core` for core's own). */
export type Provided = Map<string, Map<string, unknown>>;
export type CreateJobRunner = <P extends Json>(plugin: string, job: Job<P>) => RunJob<P>;

export interface ContextParts {
  readonly definition: AnyPlugin;
  readonly config: unknown;
  readonly log: Logger;
  readonly paths: Paths;
  readonly signal: AbortSignal;
  readonly provided: Provided;
  readonly pending: Pending;
  readonly createJobRunner: CreateJobRunner;
  readonly onDispose: (dispose: () => void | Promise<void>) => void;
}
type Context = PluginContext<unknown, AnyCapability, AnyCapability, AnyCapability>;

export function createContext(parts: ContextParts): Context {
  const { definition, pending } = parts;
  const plugin = definition.name;
  return {
    config: parts.config,
    log: parts.log,
    dirs: { state: parts.paths.pluginState(plugin), cache: parts.paths.pluginCache(plugin) },
    signal: parts.signal,
    ...capabilityParts(parts),
    rpc: (name, method) => pending.add('methods', { owner: plugin, name, method }),
    step: (step) => pending.add('steps', { plugin, step }),
    beforeStop: (stopStep) => pending.add('stopSteps', { plugin, stopStep }),
    // The union over `to` is that of ContributionRegistration; TypeScript does not correlate the parameters.
    contribute: (to, name, fn) => pending.add('contributions', { plugin, to, name, fn } as never),
    reconfigure: (name, fn) => pending.add('reconfigurers', { plugin, name, fn }),
    job: (job) => {
      pending.add('jobs', { plugin, name: job.name });
      return parts.createJobRunner(plugin, job);
    },
    resources: (name, list) => pending.add('resources', { plugin, name, list }),
    task: (name, run) => pending.add('tasks', { plugin, name, run }),
    onDispose: parts.onDispose,
  };
}

function capabilityParts({ definition, pending, provided }: ContextParts): Pick<Context, 'use' | 'useOptional' | 'useAll' | 'provide'> {
  const plugin = definition.name;
  const requireDeclared = (cap: AnyCapability, list: 'requires' | 'optional' | 'provides', fallback?: 'optional'): void => {
    const declared: readonly AnyCapability[] = [...(definition[list] ?? []), ...(fallback ? definition[fallback] ?? [] : [])];
    if (!declared.some((other) => other.id === cap.id)) {
      throw pluginFailed(plugin, `it uses ${cap.id} without having it in ${list}${fallback ? ` or ${fallback}` : ''}`);
    }
  };
  const single = <K extends AnyCapability>(cap: K): CapabilityValue<K> | undefined => {
    if (cap.arity === 'many') throw pluginFailed(plugin, `${cap.id} may have several providers: ask for it with useAll`);
    const [value] = provided.get(cap.id)?.values() ?? [];
    return value as CapabilityValue<K> | undefined;
  };
  return {
    use(cap) {
      requireDeclared(cap, 'requires');
      const value = single(cap);
      if (value === undefined) throw pluginFailed(plugin, `${cap.id} is not provided`);
      return value;
    },
    useOptional(cap) {
      requireDeclared(cap, 'optional');
      return single(cap);
    },
    useAll(cap) {
      requireDeclared(cap, 'requires', 'optional');
      return new Map(provided.get(cap.id)) as ReadonlyMap<string, unknown> as ReadonlyMap<string, never>;
    },
    provide(cap, value) {
      requireDeclared(cap, 'provides');
      pending.provide(cap, value);
    },
  };
}
