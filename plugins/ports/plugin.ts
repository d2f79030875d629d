import { GuestAgent, HostInfo, VmUse, Vms, definePlugin } from '../../core/plugin-api.ts';
import { GuestListeners } from '../stats/capability.ts';
import { LoopbackAddresses, PortForwards } from '../usernet/capability.ts';
import { portMethods } from './methods.ts';
import { createPortsByVm } from './ports-by-vm.ts';
import { portsConfig, portsSection } from './schema.ts';
import { hostAccessAddress } from './wanted.ts';

const hostName = 'host.banger.internal';
const askLimitMs = 2000;

export default definePlugin({
  name: 'ports',
  version: '0.1.0',
  apiVersion: 1,
  summary: "Forwards what opens in a guest on the VM's loopback address, ports on request, and the host's services that guests may reach",
  requires: [GuestAgent, GuestListeners, HostInfo, LoopbackAddresses, PortForwards, VmUse, Vms],
  config: portsConfig,
  configKey: 'network',
  spec: {
    schema: portsSection,
    flags: [
      { name: 'no-auto-ports', key: 'auto', type: 'boolean', value: false, summary: 'Do not forward ports that open in the guest', verbs: ['run', 'create', 'set'] },
      { name: 'auto-ports', key: 'auto', type: 'boolean', summary: 'Forward ports that open in the guest (the default)', verbs: ['set'] },
    ],
    show: (_, section) => ({ auto: portsSection.parse(section).auto }),
  },
  setup(ctx) {
    const [agent, forwards, vms, addresses] = [ctx.use(GuestAgent), ctx.use(PortForwards), ctx.use(Vms), ctx.use(LoopbackAddresses)];
    const address = addresses.address;
    const hostAccess = ctx.config.entries.host_access;
    const ports = createPortsByVm({
      agent, forwards, address, hostAccess, use: ctx.use(VmUse), listeners: ctx.use(GuestListeners), log: ctx.log, askLimitMs: askLimitMs * ctx.use(HostInfo).slowdown,
    });
    ctx.step(ports.step);
    ctx.reconfigure('ports.auto', ports.reconfigure);
    if (hostAccess.length > 0) {
      ctx.contribute('guest', 'ports.host', (guest) => ({ ...guest, hosts: [...guest.hosts ?? [], { address: hostAccessAddress, name: hostName }] }));
    }
    const methods = portMethods({ vms, ports, forwards, address });
    ctx.rpc('vm.port.add', methods['vm.port.add']);
    ctx.rpc('vm.port.rm', methods['vm.port.rm']);
    ctx.rpc('vm.port.list', methods['vm.port.list']);
    const forget = forwards.onPublish((vmId) => ports.again(vmId));
    ctx.onDispose(async () => {
      forget();
      await ports.closeAll();
    });
  },
});
