// What the VM verbs share.
import type { GuestAgent, Images, Kernels, Processes, VmmDriver, VmRecovery } from '../capabilities.ts';
import type { Clock } from '../clock.ts';
import { BangerError, notFound } from '../errors.ts';
import type { Lifecycle } from '../lifecycle/lifecycle.ts';
import { lifelineProcess } from '../lifecycle/lifeline.ts';
import type { ReconfigureRegistration, SectionRegistration, StopStepRegistration } from '../lifecycle/registrations.ts';
import type { KeyedLock } from '../lock.ts';
import type { InitMode, ProcessIdentity } from '../model.ts';
import type { OperationRegistry } from '../operations/operations.ts';
import type { Paths } from '../paths.ts';
import type { CallContext, Logger } from '../plugin-api.ts';
import type { Store } from '../store/store.ts';
import type { VmRecord } from '../store/vms.ts';
import type { ToVm } from './record.ts';
import { resolveRef } from './ref.ts';
import type { VmRegistry } from './registry.ts';
import type { VmUseCount } from './use.ts';

export interface VmDefaults {
  readonly vcpu: number;
  readonly memoryMiB: number;
  readonly image?: string | undefined;
  readonly kernel?: string | undefined;
  readonly driver?: string | undefined;
  readonly init: InitMode;
}

export interface VmServiceDeps {
  readonly store: Store;
  readonly paths: Paths;
  readonly log: Logger;
  readonly processes: Processes;
  /** One lock a VM, by VM id: the lifecycle's own. */
  readonly locks: KeyedLock;
  readonly lifecycle: Lifecycle;
  readonly registry: VmRegistry;
  readonly use: VmUseCount;
  readonly operations: Pick<OperationRegistry, 'describe' | 'spawn' | 'show' | 'cancel'>;
  /** Frozen, in plugin graph order. */
  readonly stopSteps: readonly StopStepRegistration[];
  readonly reconfigurers: readonly ReconfigureRegistration[];
  readonly sections: readonly SectionRegistration[];
  /** Looked up at each use. @throws missing_requirement when no plugin fills the capability */
  readonly images: () => Images;
  readonly kernels: () => Kernels;
  readonly agent: () => GuestAgent;
  /** By plugin name; may be empty. */
  readonly drivers: () => ReadonlyMap<string, VmmDriver>;
  /** By plugin name, in plugin graph order. */
  readonly recoveries: () => ReadonlyMap<string, VmRecovery>;
  readonly defaults: VmDefaults;
  /** Of a question to a guest that nobody waits for. @default 15000 */
  readonly backgroundLimitMs?: number;
  readonly clock?: Clock;
}

export interface VmContext extends VmServiceDeps {
  readonly toVm: ToVm;
  /** Name re-check, slot and row, and nothing slower. Taken after a VM's lock, never before. */
  readonly createLock: KeyedLock;
  /** Work that no call waits for; the service's end does. Never rejects. */
  readonly background: Set<Promise<void>>;
}

/** Lets the service's end wait for work that nobody else waits for. */
export function keepTrack(ctx: Pick<VmContext, 'background'>, work: Promise<void>): Promise<void> {
  const tracked = work.finally(() => ctx.background.delete(tracked));
  ctx.background.add(tracked);
  return tracked;
}

/** Runs a verb under the VM's lock, with the record as it is once the lock is had. */
export async function underLock<R>(
  ctx: VmContext, target: { readonly ref: string; readonly verb: string; readonly call: Pick<CallContext, 'opId' | 'signal'> },
  fn: (record: VmRecord) => Promise<R>): Promise<R> {
  const { ref, verb, call } = target;
  const { id, name } = resolveRef(ctx.store, ref);
  ctx.operations.describe(call.opId, name);
  ctx.use.touch(id);
  return ctx.locks.run(id, { holder: `${verb} (${call.opId})`, signal: call.signal, subject: `VM ${name}` }, () => {
    const record = ctx.store.vms.get(id);
    // Deleted by whoever held the lock before.
    if (record === undefined) throw notFound('VM', ref);
    if (record.activity === 'deleting' && verb !== 'vm.delete') throw halfDeleted(name);
    return fn(record);
  });
}

/** A delete that left something behind cannot be taken back: part of the VM is gone. */
function halfDeleted(name: string): BangerError {
  return new BangerError('wrong_state', `VM ${name} is deleted but for what could not be undone`, { hint: 'banger reclaim finishes it' });
}

/** The VM's process, when it lives. */
export function liveProcess(ctx: Pick<VmContext, 'store' | 'processes'>, id: string): ProcessIdentity | undefined {
  const process = lifelineProcess(ctx.store.ledger.lifeline(id));
  return process !== undefined && ctx.processes.isAlive(process) ? process : undefined;
}

export function nowIso(ctx: Pick<VmContext, 'clock'>): string {
  return new Date(ctx.clock?.now() ?? Date.now()).toISOString();
}
