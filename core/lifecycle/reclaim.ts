// `banger reclaim`: retries undos that failed, then removes what no ledger row explains.
import type { ReclaimResult } from '../api.ts';
import type { KeyedLock } from '../lock.ts';
import type { Logger } from '../plugin-api.ts';
import type { VmRecord } from '../store/vms.ts';
import type { ToVm } from '../vm/record.ts';
import type { JobRunner } from './jobs.ts';
import { findLeaks, isKnown } from './leaks.ts';
import type { LeakDeps } from './leaks.ts';
import type { Settle } from './settle.ts';
import type { Teardown } from './teardown.ts';

export interface ReclaimDeps extends LeakDeps {
  readonly teardown: Teardown;
  readonly settle: Settle;
  readonly jobs: JobRunner;
  readonly locks: KeyedLock;
  readonly toVm: ToVm;
}
interface Result { readonly removed: string[]; readonly failed: { name: string; error: string }[] }
export interface ReclaimCall { readonly opId: string; readonly signal: AbortSignal; readonly log: Logger }

export async function reclaim(deps: ReclaimDeps, call: ReclaimCall): Promise<ReclaimResult> {
  const result: Result = { removed: [], failed: [] };
  for (const { id } of deps.store.vms.names()) {
    if (!needsWork(deps, id)) continue;
    await deps.locks.run(id, { holder: `doctor.reclaim (${call.opId})`, signal: call.signal }, async () => {
      const record = deps.store.vms.get(id);
      if (record !== undefined && needsWork(deps, id)) await reclaimVm(deps, record, { call, result });
    });
  }
  for (const row of deps.store.ledger.byState('undo_failed')) {
    if (row.lifetime !== 'job' || deps.jobs.isActive(row.owner)) continue;
    const problem = await deps.jobs.undo(row);
    if (problem === undefined) result.removed.push(row.step);
    else result.failed.push({ name: row.step, error: problem.message });
  }
  const leaks = await findLeaks(deps, call.signal);
  for (const resource of leaks.found) {
    // A start may have begun since the look at the host.
    if (isKnown(deps.store, resource)) continue;
    const name = `${resource.kind} ${resource.name}`;
    const error = await resource.remove().then(() => undefined, (thrown: unknown) => thrown);
    if (error === undefined) result.removed.push(name);
    else result.failed.push({ name, error: error instanceof Error ? error.message : String(error) });
  }
  result.failed.push(...leaks.failed);
  return result;
}

function needsWork(deps: ReclaimDeps, id: string): boolean {
  return deps.store.vms.get(id)?.activity === 'deleting'
    || deps.store.ledger.byOwner(`vm:${id}`).some((row) => row.state === 'undo_failed');
}

async function reclaimVm(deps: ReclaimDeps, record: VmRecord, { call, result }: { call: ReclaimCall; result: Result }): Promise<void> {
  // A delete that could not finish is finished, not only its failed rows retried.
  const rows = deps.store.ledger.byOwner(`vm:${record.id}`).filter((row) => row.state === 'undo_failed');
  const options = { reason: 'reclaim', opId: call.opId, log: call.log } as const;
  const problems = record.activity === 'deleting'
    ? await deps.settle.remove(record, options)
    : await deps.teardown(deps.toVm(record), rows, options);
  const failed = new Set(problems.map((problem) => problem.step));
  result.removed.push(...rows.filter((row) => !failed.has(row.step)).map((row) => `${row.step} of ${record.name}`));
  result.failed.push(...problems.map((problem) => ({ name: `${problem.step} of ${record.name}`, error: problem.message })));
  if (problems.length === 0 && record.activity === undefined && record.lastError?.code === 'undo_failed') {
    deps.store.vms.update(record.id, { lastError: undefined });
  }
}
