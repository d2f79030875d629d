import type { VmListResult } from '../api.ts';
import type { VmContext } from './context.ts';
import { toView } from './view.ts';

/** Every VM, oldest first. Two queries, whatever the number; takes no lock and talks to no VM. */
export function listVms(ctx: VmContext): VmListResult {
  const lifelines = ctx.store.ledger.lifelines();
  return {
    vms: ctx.store.vms.list().map((record) => toView(ctx, record, lifelines.get(record.id))),
    columns: ctx.sections.flatMap(({ plugin, section }) => (section.columns ?? []).map(({ header, key }) => ({ header, section: plugin, key }))),
  };
}
