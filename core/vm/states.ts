// State of a VM, derived: from the change in progress, from its process, from what happened last. No state word is stored.
//
//   created --start--> starting --ok--> running --stop, kill, process gone--> stopping --> stopped --start--> starting
//                         |                                                       |
//                         +--failed: everything undone--> error <--undo failed----+      error --start--> starting
//
//   pause and resume lead from running to paused and back; what ends a running VM ends a paused one.
//   delete leads out of every state. A cancelled start leads back to created or stopped.
import type { VmState } from '../model.ts';
import type { VmRecord } from '../store/vms.ts';
import { endText } from './end.ts';

/** Pure. `isAlive`: whether the lifeline process lives. `isPaused`: whether the driver says that the guest's CPUs stand still. */
export function deriveState(record: VmRecord, isAlive: boolean, isPaused = false): VmState {
  if (record.activity === 'starting') return 'starting';
  // A delete that left something behind waits for reclaim; the last error says so.
  if (record.activity === 'deleting' && record.lastError?.code === 'undo_failed') return 'error';
  if (record.activity !== undefined) return 'stopping';
  if (record.published && isAlive) return isPaused ? 'paused' : 'running';
  if (record.lastError !== undefined) return 'error';
  return record.startedAt === undefined ? 'created' : 'stopped';
}

/** Words beside the state, where there is something to say. */
export function stateReason(record: VmRecord, state: VmState): string | undefined {
  if (state === 'error') return record.lastError?.message;
  return state === 'stopped' && record.endReason !== undefined ? endText({ reason: record.endReason, ...record.ended }) : undefined;
}
