import type { CallContext } from '../plugin-api.ts';
import { undoFailed } from '../lifecycle/settle.ts';
import { underLock } from './context.ts';
import type { VmContext } from './context.ts';

/** Deletes a VM, its disks and its record; a running one is ended without asking its guest. @throws undo_failed */
export function deleteVm(ctx: VmContext, ref: string, call: Pick<CallContext, 'opId' | 'signal' | 'log'>): Promise<{ id: string; name: string }> {
  return underLock(ctx, { ref, verb: 'vm.delete', call }, async (record) => {
    const problems = await ctx.lifecycle.remove(record, { reason: 'delete', opId: call.opId, log: call.log });
    if (problems.length > 0) throw undoFailed(record, problems);
    return { id: record.id, name: record.name };
  });
}
