// References to VMs: exact id, exact name, unique prefix of either.
import { ambiguousRef, notFound } from '../errors.ts';
import type { Store } from '../store/store.ts';
import type { VmRecord } from '../store/vms.ts';

/** @throws not_found; ambiguous_ref naming what it fits */
export function resolveRef(store: Store, ref: string): VmRecord {
  const exact = store.vms.get(ref) ?? store.vms.getByName(ref);
  if (exact !== undefined) return exact;
  const matches = ref === '' ? [] : store.vms.names().filter(({ id, name }) => id.startsWith(ref) || name.startsWith(ref));
  if (matches.length > 1) throw ambiguousRef('VM', ref, matches.map(({ name }) => name));
  const record = matches[0] === undefined ? undefined : store.vms.get(matches[0].id);
  if (record === undefined) throw notFound('VM', ref);
  return record;
}
