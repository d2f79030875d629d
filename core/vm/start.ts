import type { VmView } from '../api.ts';
import type { CallContext } from '../plugin-api.ts';
import { liveProcess, underLock } from './context.ts';
import type { VmContext } from './context.ts';
import { viewOf } from './view.ts';

/** Starts a VM; does nothing to a running one. */
export function startVm(ctx: VmContext, ref: string, call: CallContext): Promise<VmView> {
  return underLock(ctx, { ref, verb: 'vm.start', call }, async (record) => {
    if (!(record.published && liveProcess(ctx, record.id) !== undefined)) await ctx.lifecycle.start(record, call);
    return viewOf(ctx, ctx.store.vms.get(record.id) ?? record);
  });
}
