// How a VM's time on the host ends: by stop, by delete, by undoing a start that nobody finished. Requests, the watcher, leases,
// recovery and reclaim all end here; the caller holds the VM's lock.
import { BangerError } from '../errors.ts';
import { removeVmDirs } from '../paths.ts';
import type { Paths } from '../paths.ts';
import type { VmEnd, VmEndReason } from '../capabilities.ts';
import type { Logger, UndoReason, Vm } from '../plugin-api.ts';
import type { LedgerRow } from '../store/ledger.ts';
import type { Store } from '../store/store.ts';
import { tryWrite } from '../store/try-write.ts';
import type { VmError, VmPatch, VmRecord } from '../store/vms.ts';
import type { ToVm } from '../vm/record.ts';
import { storeProblem, storeStep, toProblem } from './teardown.ts';
import type { Teardown, UndoProblem } from './teardown.ts';

export interface SettleDeps {
  readonly store: Store;
  readonly teardown: Teardown;
  readonly paths: Paths;
  readonly toVm: ToVm;
  readonly log: Logger;
  readonly onEnd: (kind: 'stopped' | 'deleted', vm: Vm) => void;
  readonly now?: (() => Date) | undefined;
}
export interface EndOptions {
  readonly reason: UndoReason;
  readonly opId: string;
  readonly log?: Logger;
  /** Shown as the reason of state `stopped`; a function is asked after the undos, which may learn it. */
  readonly endReason?: VmEndReason | (() => VmEnd) | undefined;
}
export interface Settle {
  /** Undoes what a start made; what has lifetime `vm` stays. */
  stop(record: VmRecord, options: EndOptions): Promise<readonly UndoProblem[]>;
  /** Undoes everything, then removes directory and record. With problems the record stays, so that reclaim can go on. */
  remove(record: VmRecord, options: EndOptions): Promise<readonly UndoProblem[]>;
  /** Undoes what an interrupted start began, and nothing of earlier starts. */
  rollback(record: VmRecord, options: EndOptions & { readonly error: VmError }): Promise<readonly UndoProblem[]>;
}

export function createSettle(deps: SettleDeps): Settle {
  const { store, toVm } = deps;
  const log = (options: EndOptions): Logger => options.log ?? deps.log;
  // The state of a VM on a full disk is less than the room that undoing it makes.
  const note = (record: VmRecord, patch: VmPatch, options: EndOptions): void => {
    tryWrite(log(options), `state of ${record.name}`, () => store.vms.update(record.id, patch));
  };
  return {
    async stop(record, options) {
      const vm = toVm(record);
      note(record, { activity: 'stopping', activityOp: options.opId, published: false }, options);
      const rows = store.ledger.byOwner(`vm:${record.id}`).filter(isOfOneRun);
      const problems = await deps.teardown(vm, rows, { reason: options.reason, log: log(options) });
      const lastError = problems.length > 0 ? undoError(vm, problems, options.opId) : undefined;
      note(record, {
        activity: undefined, activityOp: undefined,
        ...(record.published || record.activity === 'stopping' ? endPatch(options.endReason, deps.now) : {}),
        // An error of the last start stays until something succeeds or replaces it.
        ...(lastError !== undefined || record.published ? { lastError } : {}),
      }, options);
      if (record.published) deps.onEnd('stopped', vm);
      return problems;
    },
    async remove(record, options) {
      const vm = toVm(record);
      note(record, { activity: 'deleting', activityOp: options.opId, published: false }, options);
      const rows = store.ledger.byOwner(`vm:${record.id}`);
      // Rows of what is undone go with the record, once the directory's going has made room.
      const problems = (await deps.teardown(vm, rows, { reason: options.reason, log: log(options) })).filter(({ step }) => step !== storeStep);
      if (record.published) deps.onEnd('stopped', vm);
      if (problems.length === 0) {
        const error = await removeVmDirs(deps.paths, record.id).then(() => undefined, (thrown: unknown) => thrown);
        if (error !== undefined) problems.push(toProblem('core.vm-directory', error));
      }
      if (problems.length === 0) {
        const error = tryWrite(log(options), `end of ${vm.name}`, () => store.transaction(() => {
          for (const row of rows) store.ledger.delete(row.seq);
          store.vms.delete(record.id);
        }));
        if (error !== undefined) problems.push(storeProblem(error));
      }
      if (problems.length === 0) deps.onEnd('deleted', vm);
      else note(record, { lastError: undoError(vm, problems, options.opId) }, options);
      return problems;
    },
    async rollback(record, options) {
      const vm = toVm(record);
      const rows = store.ledger.byOwner(`vm:${record.id}`)
        .filter((row) => isOfOneRun(row) || row.opId === record.activityOp || record.activityOp === undefined);
      const problems = await deps.teardown(vm, rows, { reason: options.reason, log: log(options) });
      note(record, {
        activity: undefined, activityOp: undefined, published: false,
        lastError: problems.length > 0 ? undoError(vm, problems, options.opId) : options.error,
      }, options);
      return problems;
    },
  };
}

/** What a record says of an end; nothing clears what it said of the last one. */
export function endPatch(told: EndOptions['endReason'], now: () => Date = () => new Date()): Pick<VmPatch, 'endReason' | 'ended'> {
  if (told === undefined) return { endReason: undefined, ended: undefined };
  const { reason, at, detail } = typeof told === 'function' ? told() : { reason: told };
  return { endReason: reason, ended: { at: at ?? now().toISOString(), ...(detail === undefined ? {} : { detail }) } };
}

/** Rows that do not outlive a stop: those of the run, and any that are not whole. */
export function isOfOneRun(row: LedgerRow): boolean {
  return row.lifetime === 'run' || row.state !== 'done';
}

export function undoError(vm: { readonly name: string }, problems: readonly UndoProblem[], opId: string): VmError {
  return { code: 'undo_failed', message: undoFailed(vm, problems).message, opId };
}

/** Error of a request whose undos left something behind. */
export function undoFailed(vm: { readonly name: string }, problems: readonly UndoProblem[]): BangerError {
  const first = problems[0];
  const more = problems.length > 1 ? ` and ${problems.length - 1} more` : '';
  return new BangerError('undo_failed', `Something of VM ${vm.name} could not be undone: ${first?.step ?? 'unknown step'}${more}: ${first?.message ?? ''}`, {
    hint: 'banger doctor names what is left; banger reclaim retries', detail: { undo: problems },
  });
}
