// Compares what bears our mark on this host with the ledger.
import { readdir } from 'node:fs/promises';
import type { LeakReport } from '../api.ts';
import type { Processes } from '../capabilities.ts';
import { timedOut } from '../errors.ts';
import { removeVmDirs } from '../paths.ts';
import type { Paths } from '../paths.ts';
import type { HostResource, Logger } from '../plugin-api.ts';
import type { Store } from '../store/store.ts';
import { bound } from './deadline.ts';
import type { ResourceRegistration } from './registrations.ts';

const listLimitMs = 10_000;
const jobPrefix = 'job-';

export interface LeakDeps {
  readonly store: Store;
  readonly paths: Paths;
  readonly processes: Processes;
  readonly resources: readonly ResourceRegistration[];
  readonly log: Logger;
}
export interface Leaks {
  /** What is on the host without a ledger row. */
  readonly found: readonly HostResource[];
  /** Listings that failed: leaks of theirs would not be seen. */
  readonly failed: readonly { readonly name: string; readonly error: string }[];
}

/** Looks at the host. Reads only; never waits for a VM's lock. */
export async function findLeaks(deps: LeakDeps, signal?: AbortSignal): Promise<Leaks> {
  const failed: { name: string; error: string }[] = [];
  const listed = await Promise.all(deps.resources.map(async ({ plugin, name, list }) => {
    const outcome = await bound(
      { limitMs: listLimitMs, graceMs: 0, signal, expired: () => timedOut(`resources of ${plugin} (${name})`, listLimitMs) }, () => list());
    if (outcome.kind === 'returned') return outcome.value;
    failed.push({ name: `${plugin} ${name}`, error: outcome.error instanceof Error ? outcome.error.message : String(outcome.error) });
    deps.log.error({ plugin, resources: name, err: outcome.error }, 'listing host resources failed');
    return [];
  }));
  const dirs = await vmDirs(deps);
  // The ledger is read after the host: a row is written before its object appears, so nothing that begins meanwhile looks like a leak.
  const found = [...processes(deps), ...dirs, ...listed.flat()].filter((resource) => !isKnown(deps.store, resource));
  return { found, failed };
}

/** Report of `doctor.leaks`. */
export function toReport(store: Store, leaks: Leaks): LeakReport {
  const names = new Map(store.vms.names().map(({ id, name }) => [`vm:${id}`, name]));
  return {
    leaks: [
      ...leaks.found.map(({ kind, name, step, vmId }) => ({ kind, name, step, ...(vmId === undefined ? {} : { vmId }) })),
      ...leaks.failed.map(({ name, error }) => ({ kind: 'unknown', name: `${name}: ${error}`, step: 'core.leaks' })),
    ],
    undoFailed: store.ledger.byState('undo_failed')
      .map((row) => ({ vm: names.get(row.owner) ?? row.owner, step: row.step, error: row.error ?? 'unknown' })),
  };
}

/** Whether a ledger row (or, for a VM's directory, its record) explains the object. */
export function isKnown(store: Store, { kind, vmId, step }: HostResource): boolean {
  if (kind === 'directory' && step === directoryStep) return vmId !== undefined && store.vms.get(vmId) !== undefined;
  if (vmId?.startsWith(jobPrefix)) return store.ledger.has(`job:${vmId.slice(jobPrefix.length)}`, step);
  if (vmId !== undefined) return store.ledger.has(`vm:${vmId}`, step);
  return store.ledger.jobs().some((row) => row.step === step);
}

const directoryStep = 'core.vm-directory';

async function vmDirs(deps: LeakDeps): Promise<HostResource[]> {
  const names = await readdir(deps.paths.vmsDir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return names.map((id) => ({
    kind: 'directory', name: `${deps.paths.vmsDir}/${id}`, vmId: id, step: directoryStep,
    remove: () => removeVmDirs(deps.paths, id),
  }));
}

function processes(deps: LeakDeps): HostResource[] {
  return deps.processes.findByMark(`${deps.store.installId}/`, { prefix: true }).map(({ process, mark, command }) => {
    const [, vmId = '', ...step] = mark.split('/');
    return {
      kind: 'process', name: `${process.pid} ${command.slice(0, 80)}`, vmId, step: step.join('/'),
      remove: () => deps.processes.end(process, { graceMs: 0 }),
    };
  });
}
