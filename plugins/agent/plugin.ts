import { join } from 'node:path';
import { GuestAgent, HostInfo, Kernels, VmmDriver, Vms, definePlugin } from '../../core/plugin-api.ts';
import { agentFiles, createGuestAgent } from './guest-agent.ts';
import { readyStep, shutdownStep } from './ready.ts';
import { agentConfig } from './schema.ts';
import { seedStep } from './seed.ts';

/** How long an agent may take to say that it will shut its guest down. */
const acknowledgeMs = 2000;

export default definePlugin({
  name: 'agent',
  version: '0.1.0',
  apiVersion: 1,
  summary: 'Boots guests with the guest agent as their first process and talks to it: readiness, exec, connections, shutdown',
  requires: [HostInfo, Kernels, Vms],
  // Optional: the drivers come later in the order or fail; a VM whose driver is missing says so itself.
  optional: [VmmDriver],
  provides: [GuestAgent],
  config: agentConfig,
  setup(ctx) {
    const host = ctx.use(HostInfo);
    const links = createGuestAgent({
      vms: ctx.use(Vms), host, log: ctx.log,
      driver: (vm) => ctx.useAll(VmmDriver).get(vm.spec.driver),
    });
    ctx.provide(GuestAgent, links);
    ctx.contribute('machine', 'agent.initrd', (machine, { vm }) => ({ ...machine, initrdPath: join(vm.dir, agentFiles.initrd) }));
    ctx.step(seedStep({ kernels: ctx.use(Kernels), host }));
    ctx.step(readyStep(links, ctx.config.ready_timeout_seconds * 1000));
    ctx.beforeStop(shutdownStep(links, {
      timeoutMs: ctx.config.shutdown_timeout_seconds * 1000 * host.slowdown,
      acknowledgeMs: acknowledgeMs * host.slowdown,
    }));
    ctx.onDispose(() => links.closeAll());
  },
});
