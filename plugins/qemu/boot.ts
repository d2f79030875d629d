// Step `qemu.boot`: the VMM, and with it the VM's life.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { isBangerError, missingRequirement } from '../../core/plugin-api.ts';
import type { Exec, HostInfo, Logger, Plan, Processes, StartContext, Step, UndoContext, Vm, Vms } from '../../core/plugin-api.ts';
import type { Accelerator } from './accel.ts';
import { buildQemuArgs } from './args.ts';
import { qemuDriverName } from './capability.ts';
import type { QemuHandle } from './capability.ts';
import { consoleBoots, consoleDir } from './console.ts';
import { judgeEnd } from './ended.ts';
import { lookForOom } from './oom.ts';
import { awaitExit, bootPaths, endVmm, endedAtStart, launchVmm, readTail, socketFds } from './process.ts';
import type { BootPlan } from './process.ts';
import { isConnectionGone } from './qmp.ts';
import type { QemuConfig } from './schema.ts';
import type { Watcher } from './watch.ts';

export interface BootDeps {
  readonly exec: Exec;
  readonly processes: Processes;
  readonly host: HostInfo;
  readonly vms: Pick<Vms, 'ended'>;
  readonly watcher: Watcher;
  readonly config: QemuConfig;
  readonly accel: Accelerator;
  readonly log: Logger;
}

const stepName = 'qemu.boot';
const controlTimeoutMs = 10_000;
const quitTimeoutMs = 2000;
const consoleTailBytes = 32 * 1024;

/** Short names, because a socket path has 107 bytes. */
export const socketNames = { qmp: 'qmp', agent: 'agent', bulk: 'bulk', console: 'console' } as const;

export function bootStep(deps: BootDeps): Step<BootPlan, QemuHandle> {
  return {
    name: stepName, phase: 'boot', lifeline: true,
    timeoutMs: 20_000 * deps.host.slowdown, undoTimeoutMs: 15_000,
    plan: ({ vm }) => vm.spec.driver === qemuDriverName ? planBoot(vm, deps) : undefined,
    run: (ctx, plan) => runBoot(ctx, plan, deps),
    undo: (ctx, plan, handle) => undoBoot(ctx, plan, handle, deps),
    adopt: async (ctx, plan) => {
      await deps.watcher.adopt(ctx.vm, plan.qmpSocket, { timeoutMs: controlTimeoutMs, signal: ctx.signal });
    },
  };
}

/** Stable for a VM, so that a saved state finds the machine it was saved from. */
export function vmUuid(vm: Vm): string {
  const hex = createHash('sha256').update(`uuid:${vm.mark}`).digest('hex');
  // Version 8 (RFC 9562): made from a hash of ours.
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

function planBoot(vm: Vm, { host, config }: BootDeps): Plan<BootPlan> {
  const qmpSocket = host.socketPath(vm.id, socketNames.qmp);
  const agentSocket = host.socketPath(vm.id, socketNames.agent);
  const bulkSocket = host.socketPath(vm.id, socketNames.bulk);
  const consoleSocket = host.socketPath(vm.id, socketNames.console);
  const paths = bootPaths(vm.dir);
  return {
    data: { ...paths, uuid: vmUuid(vm), mark: `${vm.mark}/${stepName}`, qmpSocket, agentSocket, bulkSocket, consoleSocket, uid: host.vmUid(vm) ?? null },
    makes: [
      `process ${config.binary} (banger-${vm.name})`, `socket ${qmpSocket}`, `socket ${agentSocket}`, `socket ${bulkSocket}`, `socket ${consoleSocket}`,
      `directory ${consoleDir(vm.dir)}`, `file ${paths.pidFile}`, `file ${paths.exitFile}`,
    ],
  };
}

async function runBoot(ctx: StartContext, plan: BootPlan, deps: BootDeps): Promise<QemuHandle> {
  const { config, accel } = deps;
  const program = await deps.exec.find(config.binary);
  if (program === undefined) throw missingRequirement(`QEMU (${config.binary}) is not found`, 'install the package qemu-system-x86');
  const args = buildQemuArgs({
    machine: ctx.machine, name: ctx.vm.name, uuid: plan.uuid, accel: accel.name, machineType: config.machine,
    cpu: config.cpu ?? defaultCpu(accel), qmpFd: socketFds.qmp, agentFd: socketFds.agent, bulkFd: socketFds.bulk, eventsFd: socketFds.events,
  });
  ctx.waitingFor(`QEMU of ${ctx.vm.name}${accel.name === 'tcg' ? ' (software emulation)' : ''}`);
  const handle = await launchVmm({
    plan, program, args, machine: ctx.machine, shim: join(deps.host.nativeDir, 'shim'),
    logMaxBytes: config.console_log_kib * 1024, group: accel.name === 'kvm' ? accel.group : undefined,
  }, deps);
  await ctx.touched();
  try {
    await deps.watcher.attach(ctx.vm, plan.qmpSocket, { timeoutMs: controlTimeoutMs * deps.host.slowdown, signal: ctx.signal });
  } catch (error) {
    if (isConnectionGone(error)) throw await endedAtStart(plan, error);
    throw error;
  }
  return handle;
}

/** qemu64 is the fastest model under emulation (max emulates much more); with kvm the guest sees the host's CPU. */
function defaultCpu(accel: Accelerator): string {
  return accel.name === 'kvm' ? 'host' : 'qemu64';
}

async function undoBoot(ctx: UndoContext, plan: BootPlan, handle: QemuHandle | undefined, deps: BootDeps): Promise<void> {
  // From here the end of the VMM is our doing, and no news for core.
  const client = deps.watcher.release(ctx.vm.id);
  if (handle && !deps.processes.isAlive(handle.process)) await reportEnd(ctx.vm, plan, handle, deps);
  if (client && ctx.reason === 'stop') {
    try {
      // Flushes what the disk layer still holds; a VMM that does not answer is killed below all the same.
      await client.execute('quit', {}, { timeoutMs: quitTimeoutMs });
    } catch (error) {
      if (isBangerError(error) && error.code === 'timeout') ctx.log.warn({ vm: ctx.vm.name }, 'QEMU does not answer and is killed');
    }
    await waitGone(handle, deps.processes);
  }
  client?.close();
  await endVmm(plan, handle, deps.processes);
}

/** Tells how a VMM ended that nobody here ended. Without its pid file it is not the first undo, and all is said. */
async function reportEnd(vm: Vm, plan: BootPlan, handle: QemuHandle, deps: BootDeps): Promise<void> {
  if (!existsSync(plan.pidFile)) return;
  const exit = await awaitExit(plan, () => deps.processes.isAlive(handle.shim));
  const logs = consoleBoots(plan.dir).at(-1)?.files ?? [];
  const { reason, ...more } = await judgeEnd({
    exit, isDiskFull: deps.watcher.isDiskFull(vm.id),
    console: () => readTail(logs, consoleTailBytes),
    oom: () => lookForOom(exit === undefined ? [handle.process.pid, handle.shim.pid] : [handle.process.pid], handle.oom),
  });
  deps.vms.ended(vm.id, reason, more);
}

/** Until a VMM told to quit is gone, at most as long as it had to answer. */
async function waitGone(handle: QemuHandle | undefined, processes: Processes): Promise<void> {
  const deadline = Date.now() + quitTimeoutMs;
  while (handle && processes.isAlive(handle.process) && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
