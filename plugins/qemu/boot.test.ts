// The step `qemu.boot` with a real supervisor and a real QEMU. The guest is a kernel image that only loops: no boot is needed here.
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createExec } from '../../core/exec.ts';
import { createProcesses } from '../../core/process.ts';
import type { HostInfo, Logger, MachineSpec, StartContext, UndoContext, UndoReason, Vm, Vms } from '../../core/plugin-api.ts';
import { findShim } from '../../test/support/shim.ts';
import { bootStep } from './boot.ts';
import type { QemuHandle } from './capability.ts';
import { createQemuDriver } from './driver.ts';
import type { BootPlan } from './process.ts';
import { connectQmp } from './qmp.ts';
import { qemuConfig } from './schema.ts';
import { powerdownStep } from './stop.ts';
import { createWatcher } from './watch.ts';

const shim = findShim();
const hasQemu = existsSync('/usr/bin/qemu-system-x86_64');
const reason = 'reason' in shim ? shim.reason : hasQemu ? '' : 'no qemu-system-x86_64';
const limit = { timeout: 30_000 };
const uid = process.getuid?.() ?? 0;
const log: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };

/** The least that QEMU takes for a Linux kernel: a boot protocol header whose entry jumps to itself. */
function loopingKernel(): Buffer {
  const image = Buffer.alloc(8192);
  image[0x1f1] = 1;
  image.writeUInt16LE(0xaa55, 0x1fe);
  image.writeUInt16LE(0xfeeb, 0x200);
  image.write('HdrS', 0x202, 'latin1');
  image.writeUInt16LE(0x020c, 0x206);
  image[0x211] = 1;
  image.writeUInt32LE(0x7fffffff, 0x22c);
  return image;
}

function makeWorld(dir: string) {
  const told: string[] = [];
  const vm: Vm = {
    id: 'a1b2c3d4e5f6', name: 'devbox', slot: 7, mark: `test${process.pid}/${dir.slice(-6)}`, dir, createdAt: '2026-01-01T00:00:00Z',
    spec: { image: 'i', imageName: 'i', kernel: 'k', driver: 'qemu', vcpu: 1, memoryMiB: 64, init: 'auto', env: {}, sections: {} },
  };
  const host: HostInfo = {
    installId: 'test', stateDir: dir, cacheDir: dir, nativeDir: 'nativeDir' in shim ? shim.nativeDir : '', uid, slowdown: 4,
    socketPath: (_id, name) => join(dir, `${name}.sock`), vmUid: ({ slot }) => uid === 0 ? 2_000_000_000 + slot : undefined,
  };
  const vms: Vms = {
    get: () => vm, list: () => [vm], isRunning: () => true, process: () => undefined, paused: (_id, isPaused) => told.push(isPaused ? 'paused' : 'goes on'), isPaused: () => false, resolve: () => vm, running: () => Promise.resolve(vm), onChange: () => () => {},
    ended: (_id, reason, more) => told.push([reason, ...more?.detail?.slice(0, 1) ?? []].join(': ')), rebooted: () => {}, note: () => {},
  };
  const exec = createExec();
  const processes = createProcesses();
  const config = qemuConfig.parse({});
  const accel = { name: 'tcg', reason: 'test' } as const;
  const watcher = createWatcher(vms, log);
  const step = bootStep({ exec, processes, host, vms, watcher, config, accel, log });
  const machine: MachineSpec = {
    kernelPath: join(dir, 'kernel'), initrdPath: join(dir, 'initrd'), cmdline: [], vcpu: 1, memoryMiB: 64, drives: [], nics: [],
  };
  writeFileSync(machine.kernelPath, loopingKernel(), { mode: 0o644 });
  writeFileSync(machine.initrdPath, 'initrd', { mode: 0o644 });
  const start = (part: Partial<MachineSpec> = {}): StartContext => ({
    vm, opId: 'op-1', signal: AbortSignal.timeout(60_000), log, machine: { ...machine, ...part },
    guest: { hostname: 'devbox', init: 'auto', mounts: [], files: [], env: {} }, waitingFor() {}, touched: async () => {},
  });
  const undo = (reason: UndoReason): UndoContext => ({ vm, signal: AbortSignal.timeout(60_000), log, reason });
  const driver = createQemuDriver({ exec, host, config, accel, watcher });
  return { vm, told, processes, watcher, step, driver, start, undo };
}

describe('qemu.boot', () => {
  beforeEach(({ skip }) => skip(reason !== '', reason));
  let dir: string;
  let world: ReturnType<typeof makeWorld>;
  let plan: BootPlan;
  let makes: readonly string[];
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'banger-boot-'));
    chmodSync(dir, 0o711);
    world = makeWorld(dir);
    const planned = await world.step.plan({ vm: world.vm, log });
    if (!planned) throw new Error('no plan');
    makes = planned.makes;
    plan = planned.data;
  });
  afterEach(async () => {
    world.watcher.detachAll();
    await world.step.undo?.(world.undo('rollback'), plan, undefined);
    rmSync(dir, { recursive: true, force: true });
  });
  const isAlive = (handle: QemuHandle): boolean => world.processes.isAlive(handle.process) || world.processes.isAlive(handle.shim);
  const leftovers = (): string[] => readdirSync(dir).filter((name) => !['kernel', 'initrd', 'console'].includes(name));

  test('starts a VMM that answers, and stopping it leaves nothing but the console log', async () => {
    const handle = await world.step.run(world.start(), plan);
    expect(world.processes.isAlive(handle.process)).toBe(true);
    expect(await world.watcher.client(world.vm.id)?.execute('query-status')).toMatchObject({ status: 'running' });
    const agent = await world.driver.connectAgent(world.vm, AbortSignal.timeout(10_000));
    agent.destroy();
    await world.step.undo?.(world.undo('stop'), plan, handle);
    expect(isAlive(handle)).toBe(false);
    expect(leftovers()).toEqual([]);
    await world.step.undo?.(world.undo('stop'), plan, handle);
    // The end was asked for, so there is no news of it.
    expect(world.told).toEqual([]);
  }, 60_000);

  test('the console is there as long as the VMM, and planned like its other sockets', async () => {
    expect(makes).toEqual(expect.arrayContaining(['qmp', 'agent', 'console'].map((name) => `socket ${join(dir, `${name}.sock`)}`)));
    const handle = await world.step.run(world.start(), plan);
    expect(statSync(join(dir, 'console.sock')).mode & 0o777).toBe(0o600);
    const console = await world.driver.connectConsole!(world.vm, AbortSignal.timeout(10_000));
    await expect(world.driver.connectConsole!(world.vm, AbortSignal.timeout(10_000))).rejects.toMatchObject({ code: 'busy' });
    const closed = new Promise((resolve) => { console.on('close', resolve); });
    console.resume();
    expect(world.driver.consoleBoots!(world.vm).map(({ boot }) => boot)).toEqual([1]);
    await world.step.undo?.(world.undo('stop'), plan, handle);
    await closed;
    await expect(world.driver.connectConsole!(world.vm, AbortSignal.timeout(10_000))).rejects.toMatchObject({ code: 'not_running' });
    const again = await world.step.run(world.start(), plan);
    expect(world.driver.consoleBoots!(world.vm).map(({ boot }) => boot)).toEqual([1, 2]);
    await world.step.undo?.(world.undo('stop'), plan, again);
    expect(leftovers()).toEqual([]);
  }, 60_000);

  test('finds a VMM by its mark when the daemon died before it kept the handle', async () => {
    const handle = await world.step.run(world.start(), plan);
    world.watcher.detachAll();
    await world.step.undo?.(world.undo('recover'), plan, undefined);
    expect(isAlive(handle)).toBe(false);
    expect(leftovers()).toEqual([]);
  }, 60_000);

  test('tells at once that a VMM was killed, and by what when it is cleared', async () => {
    const handle = await world.step.run(world.start(), plan);
    process.kill(handle.process.pid, 'SIGKILL');
    await expect.poll(() => world.told, limit).toEqual(['unknown']);
    await world.step.undo?.(world.undo('stop'), plan, handle);
    expect(world.told).toEqual(['unknown', 'vmm-killed: SIGKILL; the kernel does not tell who sent it']);
    await world.step.undo?.(world.undo('stop'), plan, handle);
    expect(world.told).toHaveLength(2);
    await expect(world.driver.connectAgent(world.vm, AbortSignal.timeout(10_000))).rejects.toMatchObject({ code: 'not_running' });
  }, 60_000);

  test('a new daemon takes the VM over again and hears of its end', async () => {
    const handle = await world.step.run(world.start(), plan);
    world.watcher.detachAll();
    await world.step.adopt?.(world.undo('recover'), plan, handle);
    expect(await world.watcher.client(world.vm.id)?.execute('query-status')).toMatchObject({ status: 'running' });
    process.kill(handle.process.pid, 'SIGTERM');
    await expect.poll(() => world.told, limit).toEqual(['unknown']);
    await world.step.undo?.(world.undo('stop'), plan, handle);
    // QEMU names who sent it.
    expect(world.told.at(-1)).toMatch(new RegExp(`^vmm-killed: SIGTERM from pid ${process.pid} \\(.+\\)$`));
  }, 60_000);

  test('a supervisor that is killed takes its VMM along, and nobody knows more', async () => {
    const handle = await world.step.run(world.start(), plan);
    world.watcher.detachAll();
    process.kill(handle.shim.pid, 'SIGKILL');
    await expect.poll(() => isAlive(handle), limit).toBe(false);
    await world.step.undo?.(world.undo('recover'), plan, handle);
    expect(world.told).toEqual(['vmm-died: how is not known: its supervisor ended, too']);
  }, 60_000);

  test('holds the CPUs still and lets them go on, also for the next daemon; asking again does nothing', async () => {
    const handle = await world.step.run(world.start(), plan);
    const status = async (): Promise<unknown> => world.watcher.client(world.vm.id)?.execute('query-status');
    const signal = AbortSignal.timeout(10_000);
    await world.driver.pause!(world.vm, signal);
    await world.driver.pause!(world.vm, signal);
    expect(await status()).toMatchObject({ status: 'paused', running: false });
    expect(world.told).toEqual(['paused']);
    world.watcher.detachAll();
    await expect(world.driver.resume!(world.vm, signal)).rejects.toMatchObject({ code: 'not_running' });
    await world.step.adopt?.(world.undo('recover'), plan, handle);
    expect(world.told).toEqual(['paused', 'paused']);
    await world.driver.resume!(world.vm, signal);
    await world.driver.resume!(world.vm, signal);
    expect(await status()).toMatchObject({ status: 'running' });
    expect(world.told).toEqual(['paused', 'paused', 'goes on']);
    // A paused VMM still quits when it is asked to.
    await world.driver.pause!(world.vm, signal);
    await world.step.undo?.(world.undo('stop'), plan, handle);
    expect(isAlive(handle)).toBe(false);
  }, 60_000);

  test('a frozen VMM fails the power button at its deadline and is ended all the same', async () => {
    const handle = await world.step.run(world.start(), plan);
    process.kill(handle.process.pid, 'SIGSTOP');
    await expect(powerdownStep(world.watcher, 1).run(world.undo('stop'))).rejects.toMatchObject({ code: 'timeout' });
    await world.step.undo?.(world.undo('stop'), plan, handle);
    expect(isAlive(handle)).toBe(false);
  }, 60_000);

  test('fails with QEMU\'s own words, and its undo leaves nothing', async () => {
    const drives = [{ id: 'root', path: join(dir, 'missing.qcow2'), format: 'qcow2', readonly: false }] as const;
    const failure = await world.step.run(world.start({ drives }), plan).then(() => undefined, (error: unknown) => error);
    expect(failure).toMatchObject({ code: 'operation_failed', message: expect.stringMatching(/ended at its start: .*missing\.qcow2.*No such file/) });
    await world.step.undo?.(world.undo('rollback'), plan, undefined);
    expect(leftovers()).toEqual([]);
    expect(world.processes.findByMark(plan.mark)).toEqual([]);
  }, 60_000);

  test('a new daemon learns from the exit record what happened meanwhile', async () => {
    const handle = await world.step.run(world.start(), plan);
    world.watcher.detachAll();
    const client = await connectQmp(plan.qmpSocket, { timeoutMs: 10_000 });
    await client.execute('quit', {}, { timeoutMs: 10_000 }).catch(() => undefined); // it may be gone before it answers
    await expect.poll(() => isAlive(handle), limit).toBe(false);
    await expect.poll(() => existsSync(plan.exitFile), limit).toBe(true);
    await world.step.undo?.(world.undo('recover'), plan, handle);
    expect(world.told).toEqual(['vmm-killed: told to quit on its control socket']);
  }, 60_000);

  test('plans nothing for a VM of another driver', async () => {
    expect(await world.step.plan({ vm: { ...world.vm, spec: { ...world.vm.spec, driver: 'firecracker' } }, log })).toBeUndefined();
  });
});
