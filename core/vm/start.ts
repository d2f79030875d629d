import type { VmView } from '../api.ts';
import type { CallContext } from '../plugin-api.ts';
import { vmPaused } from '../errors.ts';
import { liveProcess, underLock } from './context.ts';
import type { VmContext } from './context.ts';
import { viewOf } from './view.ts';

/** Starts a VM; does nothing to a running one. @throws start_failed; cancelled; wrong_state for a paused one */
export function startVm(ctx: VmContext, ref: string, call: CallContext): Promise<VmView> {
  return underLock(ctx, { ref, verb: 'vm.start', call }, async (record) => {
    const isUp = record.published && liveProcess(ctx, record.id) !== undefined;
    if (isUp && ctx.registry.isPaused(record.id)) throw vmPaused(record.name);
    if (!isUp) await ctx.lifecycle.start(record, call);
    return viewOf(ctx, ctx.store.vms.get(record.id) ?? record);
  });
}
