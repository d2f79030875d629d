// One plugin as the host keeps it, and as it is shown.
import type { PluginState, PluginStatus } from '../plugin-api.ts';
import type { AnyPlugin } from './definition.ts';
import type { GraphNode } from './graph.ts';
import type { Pending } from './registrations.ts';

export interface PluginRecord {
  readonly name: string;
  /** `builtin`, or where it was loaded from. */
  readonly source: string;
  readonly thirdParty: boolean;
  /** Absent when it could not be loaded. */
  readonly definition?: AnyPlugin;
  /** `ready`: nothing is known against it yet. */
  state: PluginState | 'ready';
  reason?: string;
  /** Parsed and frozen. */
  config?: unknown;
  setupMs?: number;
  pending?: Pending;
}

/** Records that a plugin will not run. The first reason stays. */
export function rule(record: PluginRecord, state: Exclude<PluginState, 'active'>, reason?: string): void {
  if (record.state !== 'ready') return;
  record.state = state;
  if (reason !== undefined) record.reason = reason;
}

export function toNode(record: PluginRecord): GraphNode {
  const { definition } = record;
  return { name: record.name, requires: definition?.requires ?? [], optional: definition?.optional ?? [], provides: definition?.provides ?? [] };
}

/** "is disabled", "failed", "was skipped": after the plugin's name. */
export const stateVerb = (state: PluginRecord['state']): string =>
  ({ ready: 'is not set up', active: 'is active', disabled: 'is disabled', skipped: 'was skipped', failed: 'failed' })[state];

export function toStatus(record: PluginRecord): PluginStatus {
  const { definition, pending } = record;
  const registered = record.state === 'active' ? pending : undefined;
  return {
    name: record.name,
    version: definition?.version ?? '',
    summary: definition?.summary ?? '',
    source: record.source,
    state: record.state === 'ready' ? 'failed' : record.state,
    ...(record.reason === undefined ? {} : { reason: record.reason }),
    requires: idsOf(definition?.requires),
    provides: idsOf(definition?.provides),
    methods: registered?.names('methods') ?? [],
    steps: registered?.names('steps') ?? [],
    checks: (definition?.checks ?? []).map((check: { readonly name: string }) => check.name),
    ...(record.setupMs === undefined ? {} : { setupMs: record.setupMs }),
  };
}

const idsOf = (caps: AnyPlugin['requires']): string[] => (caps ?? []).map((cap: { readonly id: string }) => cap.id);
