// A VM as clients see it. Synchronous: a list of a thousand must not wait for anything, least of all for a VM.
import type { VmView } from '../api.ts';
import { lifelineProcess } from '../lifecycle/lifeline.ts';
import type { Json, Vm } from '../plugin-api.ts';
import type { VmRecord } from '../store/vms.ts';
import type { VmContext } from './context.ts';
import { deriveState, stateReason } from './states.ts';

/** `handle`: of the lifeline row, when there is one. Costs one /proc read then, and none otherwise. */
export function toView(ctx: VmContext, record: VmRecord, handle: Json | undefined): VmView {
  const process = lifelineProcess(handle);
  const isAlive = process !== undefined && ctx.processes.isAlive(process);
  const state = deriveState(record, isAlive, ctx.registry.isPaused(record.id));
  const isUp = state === 'running' || state === 'paused';
  const reason = isUp ? ctx.registry.noteOf(record.id) : stateReason(record, state);
  const { spec } = record;
  const view: VmView = {
    id: record.id, name: record.name, state, image: spec.imageName, imageId: spec.image, kernel: spec.kernel, driver: spec.driver,
    vcpu: spec.vcpu, memoryMiB: spec.memoryMiB, init: spec.init, createdAt: record.createdAt, reboots: record.reboots,
    sections: showSections(ctx, ctx.toVm(record), isUp),
    ...(reason === undefined ? {} : { stateReason: reason }),
    ...(record.startedAt === undefined ? {} : { startedAt: record.startedAt }),
    ...(isAlive && isUp ? { process: { pid: process.pid } } : {}),
    ...(record.lastError === undefined ? {} : { lastError: record.lastError }),
    // Rows of earlier versions have a reason and no time.
    ...(isUp || record.endReason === undefined || record.ended === undefined ? {} : { end: { reason: record.endReason, ...record.ended } }),
  };
  return view;
}

export function viewOf(ctx: VmContext, record: VmRecord): VmView {
  return toView(ctx, record, ctx.store.ledger.lifeline(record.id));
}

function showSections(ctx: VmContext, vm: Vm, running: boolean): Record<string, Json> {
  const shown: Record<string, Json> = {};
  for (const { plugin, section } of ctx.sections) {
    const value = vm.spec.sections[plugin];
    // A VM that is older than the plugin has no such section.
    if (value === undefined) continue;
    try {
      shown[plugin] = section.show === undefined ? value : section.show(vm, value, running);
    } catch (error) {
      ctx.log.error({ err: error, plugin, vm: vm.name }, 'showing a section failed');
    }
  }
  return shown;
}
