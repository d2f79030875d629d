import type { VmListResult, VmView } from '../api.ts';
import type { VmContext } from './context.ts';
import { toView } from './view.ts';

/** Without the lines that a panic left: a list of a thousand VMs is one answer. */
function brief(view: VmView): VmView {
  return view.end?.detail === undefined ? view : { ...view, end: { reason: view.end.reason, at: view.end.at } };
}

/** Every VM, oldest first, without the details of an end. Two queries, whatever the number; takes no lock and talks to no VM. */
export function listVms(ctx: VmContext): VmListResult {
  const lifelines = ctx.store.ledger.lifelines();
  return {
    vms: ctx.store.vms.list().map((record) => brief(toView(ctx, record, lifelines.get(record.id)))),
    columns: ctx.sections.flatMap(({ plugin, section }) => (section.columns ?? []).map(({ header, key }) => ({ header, section: plugin, key }))),
  };
}
