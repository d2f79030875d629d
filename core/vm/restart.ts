import type { VmView } from '../api.ts';
import type { CallContext } from '../plugin-api.ts';
import { underLock } from './context.ts';
import type { VmContext } from './context.ts';
import { stopLocked } from './stop.ts';
import { viewOf } from './view.ts';

/** A real power cycle under one lock; starts a VM that does not run. @throws undo_failed; start_failed */
export function restartVm(ctx: VmContext, ref: string, call: CallContext): Promise<VmView> {
  return underLock(ctx, { ref, verb: 'vm.restart', call }, async (record) => {
    await stopLocked(ctx, record, call);
    await ctx.lifecycle.start(ctx.store.vms.get(record.id) ?? record, call);
    return viewOf(ctx, ctx.store.vms.get(record.id) ?? record);
  });
}
