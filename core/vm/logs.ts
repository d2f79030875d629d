import { existsSync } from 'node:fs';
import { missingRequirement } from '../errors.ts';
import type { VmContext } from './context.ts';
import { resolveRef } from './ref.ts';

/** Console logs that exist, oldest first. @throws not_found; ambiguous_ref; missing_requirement when the VM's driver is not active */
export function vmLogs(ctx: VmContext, ref: string): { files: string[] } {
  const record = resolveRef(ctx.store, ref);
  const driver = ctx.drivers().get(record.spec.driver);
  if (driver === undefined) throw missingRequirement(`The plugin ${record.spec.driver} of VM ${record.name} is not active`, 'banger plugin list shows why');
  return { files: driver.consoleLogs(ctx.toVm(record)).filter((file) => existsSync(file)) };
}
