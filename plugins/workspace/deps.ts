// What the methods of this plugin work with.
import type { Activity, Exec, GuestAgent, HostInfo, KeyedLock, LockOptions, Logger, RunJob, Vms } from '../../core/plugin-api.ts';
import type { GuestFiles } from '../copy/capability.ts';
import type { Records } from './record.ts';
import type { WorkspaceConfig } from './schema.ts';

/** In the ledger while a prepare or pull works: what to remove when it was cut short. */
export type WorkspaceJobPlan = {
  readonly vmDir: string;
  readonly purpose: 'prepare' | 'pull';
  /** Directory of objects in the host's repository that were not taken over yet. */
  readonly quarantine?: string;
};
export interface WorkspaceDeps {
  readonly exec: Exec;
  readonly vms: Pick<Vms, 'running' | 'resolve'>;
  readonly agent: Pick<GuestAgent, 'exec'>;
  readonly files: GuestFiles;
  readonly activity: Activity;
  readonly host: Pick<HostInfo, 'slowdown'>;
  readonly records: Records;
  readonly locks: KeyedLock;
  readonly config: WorkspaceConfig;
  readonly runJob: RunJob<WorkspaceJobPlan>;
  readonly log: Logger;
}

const lockLimitMs = 10 * 60_000;

/** One prepare or pull of a VM at a time. */
export function lockOptions(vmName: string, holder: string, signal: AbortSignal): LockOptions {
  return { holder, subject: `The workspace of ${vmName}`, signal, waitMs: lockLimitMs };
}

/** How long the guest's own git may be silent while it tells HEAD and index. */
export const stateLimitMs = ({ host }: Pick<WorkspaceDeps, 'host'>): number => 60_000 * host.slowdown;
/** How long the guest may be silent while it gives its work. */
export const silenceLimitMs = ({ config, host }: Pick<WorkspaceDeps, 'config' | 'host'>): number => config.pull_timeout_seconds * 1000 * host.slowdown;
