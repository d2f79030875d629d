import { join } from 'node:path';
import { GuestAgent, HostInfo, Kernels, VmmDriver, VmUse, Vms, definePlugin } from '../../core/plugin-api.ts';
import type { Vm } from '../../core/plugin-api.ts';
import { syncClock } from './clock.ts';
import { createClockWatch, hostClocks } from './clock-watch.ts';
import { agentFiles, createGuestAgent } from './guest-agent.ts';
import { readyStep, shutdownStep } from './ready.ts';
import { agentConfig } from './schema.ts';
import { seedStep } from './seed.ts';

/** How long an agent may take to say that it will shut its guest down. */
const acknowledgeMs = 2000;
/** How long the conversation about a guest's clock may take. */
const clockMs = 2000;

export default definePlugin({
  name: 'agent',
  version: '0.1.0',
  apiVersion: 1,
  summary: 'Boots guests with the guest agent as their first process and talks to it: readiness, exec, connections, shutdown',
  requires: [HostInfo, Kernels, VmUse, Vms],
  // Optional: the drivers come later in the order or fail; a VM whose driver is missing says so itself.
  optional: [VmmDriver],
  provides: [GuestAgent],
  config: agentConfig,
  setup(ctx) {
    const host = ctx.use(HostInfo);
    const vms = ctx.use(Vms);
    const links = createGuestAgent({
      vms, host, use: ctx.use(VmUse), log: ctx.log,
      driver: (vm) => ctx.useAll(VmmDriver).get(vm.spec.driver),
    });
    const sync = (vm: Vm, signal: AbortSignal): Promise<void> =>
      syncClock({ agent: links, clocks: hostClocks, log: ctx.log, limitMs: clockMs * host.slowdown }, vm, signal);
    const clocks = createClockWatch({ vms, clocks: hostClocks, sync, log: ctx.log });
    ctx.provide(GuestAgent, { ...links, syncClock: clocks.now });
    ctx.task('clocks', (signal) => clocks.run(signal));
    ctx.contribute('machine', 'agent.initrd', (machine, { vm }) => ({ ...machine, initrdPath: join(vm.dir, agentFiles.initrd) }));
    ctx.step(seedStep({ kernels: ctx.use(Kernels), host }));
    ctx.step(readyStep(links, ctx.config.ready_timeout_seconds * 1000, (vm) => clocks.due(vm.id)));
    ctx.beforeStop(shutdownStep(links, {
      timeoutMs: ctx.config.shutdown_timeout_seconds * 1000 * host.slowdown,
      acknowledgeMs: acknowledgeMs * host.slowdown,
    }));
    ctx.onDispose(() => links.closeAll());
  },
});
