import { Exec, HostInfo, Processes, VmmDriver, Vms, definePlugin } from '../../core/plugin-api.ts';
import { chooseAccelerator } from './accel.ts';
import { bootStep } from './boot.ts';
import { accelHost, qemuChecks } from './checks.ts';
import type { CheckRuntime } from './checks.ts';
import { createQemuDriver } from './driver.ts';
import { qemuConfig } from './schema.ts';
import { powerdownStep } from './stop.ts';
import { createWatcher } from './watch.ts';

const runtime: CheckRuntime = {};

export default definePlugin({
  name: 'qemu',
  version: '0.1.0',
  apiVersion: 1,
  summary: 'Runs VMs on QEMU, with hardware acceleration where it works and software emulation elsewhere',
  requires: [Exec, HostInfo, Processes, Vms],
  provides: [VmmDriver],
  config: qemuConfig,
  checks: qemuChecks(runtime),
  setup(ctx) {
    const exec = ctx.use(Exec);
    const host = ctx.use(HostInfo);
    const accel = chooseAccelerator(ctx.config.accel, accelHost);
    runtime.exec = exec;
    if (accel.name === 'tcg') host.slowdown = Math.max(host.slowdown, 4);
    const vms = ctx.use(Vms);
    const watcher = createWatcher(vms, ctx.log);
    const deps = { exec, host, accel, watcher, config: ctx.config, log: ctx.log };
    ctx.provide(VmmDriver, createQemuDriver(deps));
    ctx.step(bootStep({ ...deps, processes: ctx.use(Processes), vms }));
    ctx.beforeStop(powerdownStep(watcher, host.slowdown));
    ctx.onDispose(() => watcher.detachAll());
  },
});
