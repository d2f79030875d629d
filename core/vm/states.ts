// State of a VM, derived: from the change in progress, from its process, from what happened last. No state word is stored.
//
//   created --start--> starting --ok--> running --stop, kill, process gone--> stopping --> stopped --start--> starting
//                         |                                                       |
//                         +--failed: everything undone--> error <--undo failed----+      error --start--> starting
//
//   delete leads out of every state. A cancelled start leads back to created or stopped.
import type { VmEndReason } from '../capabilities.ts';
import type { VmState } from '../model.ts';
import type { VmRecord } from '../store/vms.ts';

/** Pure. `isAlive`: whether the lifeline process lives. */
export function deriveState(record: VmRecord, isAlive: boolean): VmState {
  if (record.activity === 'starting') return 'starting';
  // A delete that left something behind waits for reclaim; the last error says so.
  if (record.activity === 'deleting' && record.lastError?.code === 'undo_failed') return 'error';
  if (record.activity !== undefined) return 'stopping';
  if (record.published && isAlive) return 'running';
  if (record.lastError !== undefined) return 'error';
  return record.startedAt === undefined ? 'created' : 'stopped';
}

const endReasons: Readonly<Record<VmEndReason, string | undefined>> = {
  'guest-poweroff': 'guest poweroff', 'guest-panic': 'guest panic', stopped: undefined, killed: 'killed', 'vmm-died': 'VMM died',
  'disk-full': 'the disk of the host is full', unknown: 'ended while no daemon ran',
};

/** Words beside the state, where there is something to say. */
export function stateReason(record: VmRecord, state: VmState): string | undefined {
  if (state === 'error') return record.lastError?.message;
  return state === 'stopped' && record.endReason !== undefined ? endReasons[record.endReason] : undefined;
}
