// The `Vms` capability: what plugins see of VMs, and how drivers tell that one ended. Made before plugins are set up.
import type { Processes, VmEnd, Vms } from '../capabilities.ts';
import { lifelineProcess } from '../lifecycle/lifeline.ts';
import { notRunning } from '../errors.ts';
import { recovered } from '../lifecycle/recover.ts';
import type { KeyedLock } from '../lock.ts';
import type { Logger, ProcessIdentity, Vm } from '../plugin-api.ts';
import type { Store } from '../store/store.ts';
import { tryWrite } from '../store/try-write.ts';
import { boundedEnd } from './end.ts';
import type { ToVm } from './record.ts';
import { resolveRef } from './ref.ts';

type Change = Parameters<Parameters<Vms['onChange']>[0]>[0];

export interface VmRegistry extends Vms {
  /** Tells the listeners; a listener that throws is logged and the others still hear. */
  announce(kind: Change['kind'], vm: Vm): void;
  /** Called with the VM's id on every report of an end. One handler: the watcher. */
  onEnded(handler: (id: string) => void): void;
  /** What was reported about the end of a run; forgets it. */
  takeEnd(id: string): VmEnd | undefined;
  /** What a driver noted about the running VM. */
  noteOf(id: string): string | undefined;
}
export interface VmRegistryDeps {
  readonly store: Store;
  readonly processes: Processes;
  readonly toVm: ToVm;
  readonly log: Logger;
  /** The lifecycle's, by VM id. */
  readonly locks: KeyedLock;
}

export function createVmRegistry(deps: VmRegistryDeps): VmRegistry {
  const { store, toVm } = deps;
  const listeners = new Set<(event: Change) => void>();
  const ends = new Map<string, VmEnd>();
  const notes = new Map<string, string>();
  const paused = new Set<string>();
  let onEnded: (id: string) => void = () => undefined;
  const processOf = (id: string): ProcessIdentity | undefined => {
    const process = lifelineProcess(store.ledger.lifeline(id));
    return store.vms.get(id)?.published === true && process !== undefined && deps.processes.isAlive(process) ? process : undefined;
  };
  const isRunning = (id: string): boolean => processOf(id) !== undefined;
  return {
    get: (id) => {
      const record = store.vms.get(id);
      return record === undefined ? undefined : toVm(record);
    },
    list: () => store.vms.list().map(toVm),
    isRunning,
    process: processOf,
    paused(id, isPaused) {
      // A start that fails and a VMM at its end stop CPUs, too, and nothing would clear that.
      if (isPaused && isRunning(id)) paused.add(id);
      else paused.delete(id);
    },
    isPaused: (id) => paused.has(id),
    resolve: (ref) => toVm(resolveRef(store, ref)),
    async running(ref, signal) {
      const record = resolveRef(store, ref);
      if (!isRunning(record.id)) throw notRunning(record.name, 'it has not been started');
      await recovered(deps.locks, { id: record.id, name: record.name, holder: 'vms.running', signal });
      return toVm(record);
    },
    ended(id, reason, more = {}) {
      // The first certain word counts: a guest's poweroff is followed by the end of its VMM.
      if (reason !== 'unknown' && !ends.has(id) && store.vms.get(id) !== undefined) ends.set(id, boundedEnd({ ...more, reason }));
      onEnded(id);
    },
    rebooted(id) {
      const record = store.vms.get(id);
      if (record !== undefined) tryWrite(deps.log, `reboots of ${record.name}`, () => store.vms.update(id, { reboots: record.reboots + 1 }));
    },
    note(id, text) {
      if (text === '' || store.vms.get(id) === undefined) notes.delete(id);
      // A guest may have had a hand in the words; they end in a table cell.
      else notes.set(id, text.replaceAll(/\p{Cc}/gu, ' ').slice(0, 200));
    },
    noteOf: (id) => notes.get(id),
    onChange(listener) {
      listeners.add(listener);
      return () => { listeners.delete(listener); };
    },
    announce(kind, vm) {
      ends.delete(vm.id);
      notes.delete(vm.id);
      paused.delete(vm.id);
      for (const listener of listeners) {
        try {
          listener({ kind, vm });
        } catch (error) {
          deps.log.error({ err: error, vm: vm.name, kind }, 'a listener for VM changes failed');
        }
      }
    },
    onEnded(handler) { onEnded = handler; },
    takeEnd(id) {
      const end = ends.get(id);
      ends.delete(id);
      return end;
    },
  };
}
