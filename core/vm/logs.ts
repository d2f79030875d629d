// vm.logs: which files hold the console log of which boot. The client reads them.
import { existsSync, statSync } from 'node:fs';
import type { VmLogsParams, VmLogsResult } from '../api.ts';
import type { ConsoleBoot, VmmDriver } from '../capabilities.ts';
import { BangerError } from '../errors.ts';
import type { Vm } from '../model.ts';
import { consoleDriver } from './console.ts';
import type { VmContext } from './context.ts';
import { resolveRef } from './ref.ts';
import { viewOf } from './view.ts';

const growing: ReadonlySet<string> = new Set(['starting', 'running', 'paused', 'stopping']);

/**
 * The console log of one boot, and which boots have one. A VM that never started has none.
 * @throws not_found also for a boot without log; ambiguous_ref; missing_requirement when the VM's driver is not active
 */
export function vmLogs(ctx: VmContext, { ref, boot: wanted = 0 }: VmLogsParams): VmLogsResult {
  const record = resolveRef(ctx.store, ref);
  const vm = ctx.toVm(record);
  ctx.use.touch(record.id);
  // Before the files: a VM that ends meanwhile has written all that there will be.
  const grows = growing.has(viewOf(ctx, record).state);
  const boots = bootsOf(consoleDriver(ctx, record), vm);
  const chosen = wanted > 0 ? boots.find(({ boot }) => boot === wanted) : boots.at(wanted - 1);
  if (chosen === undefined && (wanted !== 0 || boots.length > 0)) throw noSuchBoot(vm, wanted, boots);
  return {
    files: [...chosen?.files ?? []], grows, boots: boots.map(summary),
    ...(chosen === undefined ? {} : { boot: chosen.boot }),
  };
}

function bootsOf(driver: VmmDriver, vm: Vm): readonly ConsoleBoot[] {
  if (driver.consoleBoots !== undefined) return driver.consoleBoots(vm);
  const files = driver.consoleLogs(vm).filter((file) => existsSync(file));
  return files.length === 0 ? [] : [{ boot: 1, files }];
}

function summary({ boot, files }: ConsoleBoot): VmLogsResult['boots'][number] {
  // Rotated or pruned at this moment: what is gone counts nothing.
  const stats = files.map((file) => statSync(file, { throwIfNoEntry: false })).filter((stat) => stat !== undefined);
  const last = Math.max(0, ...stats.map((stat) => stat.mtimeMs));
  return { boot, bytes: stats.reduce((sum, stat) => sum + stat.size, 0), lastWriteAt: new Date(last).toISOString() };
}

function noSuchBoot(vm: Vm, wanted: number, boots: readonly ConsoleBoot[]): BangerError {
  const first = boots[0]?.boot;
  const kept = first === undefined ? 'there is none yet' : `kept are those of boot ${first} to ${boots.at(-1)?.boot}`;
  return new BangerError('not_found', `VM ${vm.name} has no console log of boot ${wanted}: ${kept}`, { hint: `banger vm logs --list-boots ${vm.name}` });
}
