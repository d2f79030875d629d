import type { VmView } from '../api.ts';
import type { VmContext } from './context.ts';
import { resolveRef } from './ref.ts';
import { viewOf } from './view.ts';

/** One VM; takes no lock. @throws not_found; ambiguous_ref */
export function showVm(ctx: VmContext, ref: string): VmView {
  return viewOf(ctx, resolveRef(ctx.store, ref));
}
