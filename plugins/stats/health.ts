// Whether a VM's guest agent answers, asked now: one question, the same as for figures.
import type { VmHealth, VmPing } from '../../core/api.ts';
import type { Vm } from '../../core/plugin-api.ts';
import { problemOf } from './view.ts';
import type { ViewDeps } from './view.ts';
import type { WatchedVm } from './watched-vm.ts';

/** A file system or memory with less than this part left is worth a word. */
const scarce = 0.02;

export async function healthOf(deps: ViewDeps, vm: Vm): Promise<VmHealth> {
  const name = { id: vm.id, name: vm.name };
  const watched = deps.watch.look(vm);
  if (watched === undefined) return { vm: name, state: 'stopped', healthy: false, reason: 'it is not running', warnings: [] };
  const began = performance.now();
  const isAsked = await deps.watch.questions.ask(watched);
  const answeredMs = Math.round(performance.now() - began);
  const isRunning = watched.measure();
  const isPaused = deps.vms.isPaused(vm.id);
  const reason = isRunning ? problemOf(watched, isPaused) ?? (isAsked ? undefined : 'it was not asked: too many others were waited for') : 'it has ended';
  return {
    vm: name, state: isPaused ? 'paused' : isRunning ? 'running' : 'stopped', healthy: reason === undefined,
    ...(reason === undefined ? { answeredMs } : { reason }), warnings: reason === undefined ? warningsOf(watched) : [],
  };
}

export async function pingOf(deps: ViewDeps, vm: Vm): Promise<VmPing> {
  const { vm: name, healthy, answeredMs, reason } = await healthOf(deps, vm);
  return { vm: name, alive: healthy, ...(answeredMs === undefined ? {} : { answeredMs }), ...(reason === undefined ? {} : { reason }) };
}

function warningsOf({ figures: { guest } }: WatchedVm): string[] {
  if (guest === undefined) return [];
  const { memory, fileSystems } = guest;
  return [
    ...fileSystems.filter((fs) => fs.totalBytes > 0 && fs.availableBytes < fs.totalBytes * scarce)
      .map((fs) => `the guest's file system ${fs.path} is ${percentUsed(fs)} % full`),
    ...fileSystems.filter((fs) => fs.inodes > 0 && fs.freeInodes < fs.inodes * scarce).map((fs) => `the guest's file system ${fs.path} is almost out of inodes`),
    ...(memory !== undefined && memory.availableBytes < memory.totalBytes * scarce ? ['the guest is almost out of memory'] : []),
  ];
}

function percentUsed(of: { readonly totalBytes: number; readonly availableBytes: number }): number {
  return Math.round(100 * (1 - of.availableBytes / of.totalBytes));
}
