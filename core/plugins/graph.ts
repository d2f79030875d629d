// Boot order of plugins from what they require and provide. Pure: knows names and capabilities, not plugins' code.
import type { AnyCapability } from '../plugin-api.ts';

export interface GraphNode {
  readonly name: string;
  readonly requires: readonly AnyCapability[];
  readonly optional: readonly AnyCapability[];
  readonly provides: readonly AnyCapability[];
}
/** A plugin that will not run; `why` follows its name in a sentence: "is disabled". */
export interface AbsentNode extends Pick<GraphNode, 'name' | 'provides'> { readonly why: string }
export interface GraphInput {
  /** In array order, which decides ties. */
  readonly nodes: readonly GraphNode[];
  /** For the reason of a missing provider. */
  readonly absent: readonly AbsentNode[];
  /** Ids of capabilities that core provides itself. */
  readonly core: ReadonlySet<string>;
}

/** Who provides each capability, in array order. */
export function providersOf(nodes: readonly Pick<GraphNode, 'name' | 'provides'>[]): Map<string, string[]> {
  const providers = new Map<string, string[]>();
  for (const node of nodes) {
    for (const cap of node.provides) providers.set(cap.id, [...(providers.get(cap.id) ?? []), node.name]);
  }
  return providers;
}

/** Plugins that provide a `one` capability which core, or one before them, provides already; with the reason. */
export function findConflicts(input: Pick<GraphInput, 'nodes' | 'core'>): Map<string, string> {
  const owner = new Map<string, string>([...input.core].map((id) => [id, 'core']));
  const conflicts = new Map<string, string>();
  for (const node of input.nodes) {
    const taken = node.provides.find((cap) => owner.has(cap.id) && (cap.arity === 'one' || owner.get(cap.id) === 'core'));
    if (taken) {
      const other = owner.get(taken.id) ?? '';
      conflicts.set(node.name, `${other === 'core' ? 'core' : `plugin ${other}`} and plugin ${node.name} both provide ${taken.id}`);
      continue;
    }
    for (const cap of node.provides) owner.set(cap.id, node.name);
  }
  return conflicts;
}

/** Plugins that can never run, because what they require is provided by nobody; with the reason. Those that need them in turn too. */
export function findUnsatisfied(input: GraphInput): Map<string, string> {
  const unsatisfied = new Map<string, string>();
  for (let changed = true; changed;) {
    changed = false;
    const left = input.nodes.filter((node) => !unsatisfied.has(node.name));
    const providers = providersOf(left);
    const lost = input.nodes.filter((node) => unsatisfied.has(node.name)).map((node) => ({ ...node, why: 'cannot run' }));
    for (const node of left) {
      const missing = node.requires.find((cap) => !input.core.has(cap.id) && !providers.has(cap.id));
      if (!missing) continue;
      unsatisfied.set(node.name, missingReason(missing.id, [...lost, ...input.absent]));
      changed = true;
    }
  }
  return unsatisfied;
}

/** Why a plugin that needs a capability cannot run. */
export function missingReason(id: string, absent: readonly AbsentNode[]): string {
  const providers = absent.filter((node) => node.provides.some((cap) => cap.id === id));
  if (providers.length === 0) return `needs ${id}, which no plugin provides`;
  return `needs ${id}; ${providers.map((node) => `plugin ${node.name} provides it but ${node.why}`).join(', ')}`;
}

export type Order = { readonly order: readonly string[] } | { readonly cycle: readonly string[] };

/** Providers before those that use them, ties by array order; or one cycle, its first plugin repeated at the end. */
export function bootOrder(nodes: readonly GraphNode[]): Order {
  const providers = providersOf(nodes);
  const edges = new Map(nodes.map((node) => {
    const used = [...node.requires, ...node.optional].flatMap((cap) => providers.get(cap.id) ?? []);
    // A provider of a `many` slot may look at the others: it does not wait for itself.
    return [node.name, new Set(used.filter((name) => name !== node.name))];
  }));
  const order: string[] = [];
  const left = nodes.map((node) => node.name);
  while (left.length > 0) {
    const next = left.findIndex((name) => [...(edges.get(name) ?? [])].every((dependency) => order.includes(dependency)));
    if (next < 0) return { cycle: findCycle(left, edges) };
    order.push(...left.splice(next, 1));
  }
  return { order };
}

/** Every one of `left` waits for another of `left`, so following the first such edge comes round. */
function findCycle(left: readonly string[], edges: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const path: string[] = [];
  let at = left[0];
  while (at !== undefined && !path.includes(at)) {
    path.push(at);
    at = [...(edges.get(at) ?? [])].find((name) => left.includes(name));
  }
  return at === undefined ? path : [...path.slice(path.indexOf(at)), at];
}

export const formatCycle = (cycle: readonly string[]): string => cycle.join(' → ');
