import { Exec, GuestAgent, HostInfo, Processes, VmUse, Vms, definePlugin } from '../../core/plugin-api.ts';
import type { Json, Vm } from '../../core/plugin-api.ts';
import { guestNetwork, loopbackAddress, netnsPidFile, userNic } from './address.ts';
import { LoopbackAddresses, PortForwards } from './capability.ts';
import { createForwards } from './forwards.ts';
import { firstOpenPort } from './host-ports.ts';
import { netnsStep, preflightStep } from './netns.ts';
import { publishStep, reconfigurePublish } from './publish.ts';
import { networkHost, usernetChecks } from './requirements.ts';
import type { CheckRuntime } from './requirements.ts';
import { sectionOf, usernetConfig, usernetSection } from './schema.ts';
import type { UsernetSection } from './schema.ts';
import { watchUplinks } from './uplink-watch.ts';

const runtime: CheckRuntime & { host?: HostInfo } = {};

function showSection(vm: Vm, section: UsernetSection): Readonly<Record<string, Json>> {
  const address = runtime.host ? loopbackAddress(runtime.host, vm) : '';
  return { address, network: section.network, publish: section.publish };
}

export default definePlugin({
  name: 'usernet',
  version: '0.1.0',
  apiVersion: 1,
  summary: 'Outbound network without privileges, cut off from the host\'s loopback, and published ports',
  requires: [Exec, GuestAgent, HostInfo, Processes, VmUse, Vms],
  provides: [LoopbackAddresses, PortForwards],
  config: usernetConfig,
  spec: {
    schema: usernetSection,
    flags: [
      { name: 'network', key: 'network', type: 'string', summary: 'user (outbound only) or none', placeholder: 'user|none', verbs: ['run', 'create', 'set'] },
      {
        name: 'publish', key: 'publish', type: 'list', summary: 'offer a port of the guest on the VM\'s address, or on another',
        placeholder: '[addr:]host:guest', verbs: ['run', 'create', 'set'],
      },
    ],
    columns: [{ header: 'ADDRESS', key: 'address' }],
    show: (vm, section) => showSection(vm, usernetSection.parse(section)),
  },
  checks: usernetChecks(runtime, networkHost),
  setup(ctx) {
    const host = ctx.use(HostInfo);
    const exec = ctx.use(Exec);
    runtime.host = host;
    runtime.exec = exec;
    ctx.provide(LoopbackAddresses, { address: (vm) => loopbackAddress(host, vm) });
    const forwards = createForwards({
      agent: ctx.use(GuestAgent), use: ctx.use(VmUse), log: ctx.log, address: (vm) => loopbackAddress(host, vm), firstOpenPort: () => firstOpenPort(networkHost),
    });
    ctx.provide(PortForwards, forwards);
    const netns = { exec, host, processes: ctx.use(Processes), network: networkHost, config: ctx.config };
    const hasNetwork = (vm: Vm): boolean => sectionOf(vm.spec.sections).network === 'user';
    ctx.contribute('machine', 'usernet.nic', (machine, { vm }) => hasNetwork(vm)
      ? { ...machine, nics: [...machine.nics, userNic(vm)], netnsPidFile: netnsPidFile(vm) } : machine);
    ctx.contribute('guest', 'usernet.address', (guest, { vm }) => hasNetwork(vm) ? { ...guest, network: guestNetwork(vm) } : guest);
    ctx.step(preflightStep(netns));
    ctx.step(netnsStep(netns));
    const vms = ctx.use(Vms);
    ctx.step(publishStep({ host, forwards, vms }));
    ctx.reconfigure('usernet', reconfigurePublish({ host, forwards }));
    ctx.task('usernet.watch-uplinks', (signal) => watchUplinks(vms, signal));
    ctx.onDispose(() => forwards.closeAll());
  },
});
