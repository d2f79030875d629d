// What plugins register. Collected while `setup` runs, checked at once, and applied only when `setup` succeeded: a failed plugin leaves
// nothing behind in core.
import { pluginFailed } from '../errors.ts';
import type {
  ContributionRegistration, ReconfigureRegistration, ResourceRegistration, StepRegistration, StopStepRegistration,
} from '../lifecycle/registrations.ts';
import { phases } from '../model.ts';
import { createRegistry } from '../rpc/registry.ts';
import type { RegisteredMethod } from '../rpc/registry.ts';
import type { AnyCapability } from '../plugin-api.ts';
import { reservedNouns } from './definition.ts';

export interface JobRegistration { readonly plugin: string; readonly name: string }
export interface TaskRegistration { readonly plugin: string; readonly name: string; readonly run: (signal: AbortSignal) => Promise<void> }

/** Of all active plugins, in boot order, then in order of declaration. */
export interface Registrations {
  readonly methods: readonly RegisteredMethod[];
  readonly steps: readonly StepRegistration[];
  readonly stopSteps: readonly StopStepRegistration[];
  readonly contributions: readonly ContributionRegistration[];
  readonly reconfigurers: readonly ReconfigureRegistration[];
  readonly resources: readonly ResourceRegistration[];
  readonly jobs: readonly JobRegistration[];
  readonly tasks: readonly TaskRegistration[];
}
type Kind = keyof Registrations;

/** One plugin's registrations, open until `setup` ends. */
export interface Pending {
  readonly plugin: string;
  /** @throws plugin_failed when `setup` has ended, or the name is malformed or taken */
  add<K extends Kind>(kind: K, item: Registrations[K][number]): void;
  provide(cap: AnyCapability, value: unknown): void;
  readonly provided: ReadonlyMap<string, unknown>;
  names(kind: Kind): string[];
  /** No more registrations. */
  seal(): void;
}

export interface RegistrationStore {
  pending(plugin: string, thirdParty: boolean): Pending;
  /** Makes a plugin's registrations those of the daemon. */
  apply(pending: Pending): void;
  /** Frozen. */
  all(): Registrations;
}

type Lists = { -readonly [K in Kind]: Registrations[K][number][] };
const emptyLists = (): Lists => ({ methods: [], steps: [], stopSteps: [], contributions: [], reconfigurers: [], resources: [], jobs: [], tasks: [] });

const labels: Record<Kind, string> = {
  methods: 'method', steps: 'step', stopSteps: 'stop step', contributions: 'contribution', reconfigurers: 'reconfigure function',
  resources: 'resource list', jobs: 'job', tasks: 'task',
};

/** Who has a name that is one name space over all plugins. */
type OwnerOf = (kind: Kind, name: string) => string | undefined;

/** `coreMethods`: names that core registers itself. */
export function createRegistrationStore(coreMethods: readonly string[]): RegistrationStore {
  const applied = emptyLists();
  const owners = new Map<string, string>(coreMethods.map((name) => [keyOf('methods', name), 'core']));
  const opened = new Map<Pending, Lists>();
  const ownerOf: OwnerOf = (kind, name) => (sharedKinds.includes(kind) ? owners.get(keyOf(kind, name)) : undefined);
  return {
    pending(plugin, thirdParty) {
      const lists = emptyLists();
      const own = createPending({ plugin, thirdParty, lists, ownerOf });
      opened.set(own, lists);
      return own;
    },
    apply(own) {
      const lists = opened.get(own) ?? emptyLists();
      for (const kind of Object.keys(lists) as Kind[]) {
        for (const item of lists[kind]) owners.set(keyOf(kind, nameOf(item)), own.plugin);
        (applied[kind] as unknown[]).push(...lists[kind]);
      }
    },
    all() {
      for (const list of Object.values(applied)) Object.freeze(list);
      return Object.freeze(applied);
    },
  };
}

interface PendingParts { readonly plugin: string; readonly thirdParty: boolean; readonly lists: Lists; readonly ownerOf: OwnerOf }

function createPending({ plugin, thirdParty, lists, ownerOf }: PendingParts): Pending {
  const provided = new Map<string, unknown>();
  let sealed = false;
  const requireOpen = (what: string): void => {
    if (sealed) throw pluginFailed(plugin, `${what} was registered after setup had ended`);
  };
  return {
    plugin, provided,
    add(kind, item) {
      const name = nameOf(item);
      requireOpen(`${labels[kind]} ${name}`);
      const problem = itemProblem(kind, item, thirdParty);
      if (problem !== undefined) throw pluginFailed(plugin, `${labels[kind]} ${name} ${problem}`);
      const owner = lists[kind].some((other) => nameOf(other) === name) ? plugin : ownerOf(kind, name);
      if (owner !== undefined) throw pluginFailed(plugin, `${labels[kind]} ${name} is registered by ${owner} already`);
      Object.freeze(item);
      (lists[kind] as Registrations[typeof kind][number][]).push(item);
    },
    provide(cap, value) {
      requireOpen(`capability ${cap.id}`);
      if (provided.has(cap.id)) throw pluginFailed(plugin, `capability ${cap.id} is provided twice`);
      if (value === undefined || value === null) throw pluginFailed(plugin, `capability ${cap.id} is provided without a value`);
      provided.set(cap.id, value);
    },
    names: (kind) => lists[kind].map(nameOf),
    seal() {
      sealed = true;
    },
  };
}

/** Names that are one name space over all plugins; the others are the plugin's own affair. */
const sharedKinds: readonly Kind[] = ['methods', 'steps', 'stopSteps', 'jobs'];
const keyOf = (kind: Kind, name: string): string => `${kind} ${name}`;

function nameOf(item: Registrations[Kind][number]): string {
  if ('step' in item) return item.step.name;
  return 'stopStep' in item ? item.stopStep.name : item.name;
}

function itemProblem<K extends Kind>(kind: K, item: Registrations[K][number], thirdParty: boolean): string | undefined {
  if ('owner' in item) return methodProblem(item, thirdParty);
  const name = nameOf(item);
  if (typeof name !== 'string' || name === '') return 'has no name';
  if ((kind === 'steps' || kind === 'jobs' || kind === 'stopSteps') && !isOwnName(name, item.plugin)) return `is not named ${item.plugin}.<kebab-name>`;
  if (!('step' in item)) return undefined;
  const { step } = item;
  if (!phases.includes(step.phase)) return `has the unknown phase ${String(step.phase)}`;
  if (!(step.timeoutMs > 0)) return 'has no time limit';
  if (typeof step.plan !== 'function' || typeof step.run !== 'function') return 'needs plan and run';
  return undefined;
}

const isOwnName = (name: string, plugin: string): boolean =>
  name.startsWith(`${plugin}.`) && /^[a-z0-9]+(-[a-z0-9]+)*$/.test(name.slice(plugin.length + 1));

function methodProblem({ owner, name, method }: RegisteredMethod, thirdParty: boolean): string | undefined {
  const noun = name.split('.', 1)[0] ?? '';
  if (noun !== owner && (thirdParty || !reservedNouns.includes(noun))) return `is not named ${owner}.<verb>`;
  if (!name.includes('.')) return `is not named ${owner}.<verb>`;
  try {
    // The daemon's registry has the last word; asked here, so that the blame and the damage stay with this plugin.
    createRegistry().register(owner, name, method);
    return undefined;
  } catch (error) {
    return `is refused: ${(error as Error).message}`;
  }
}
