import { Activity, Exec, GuestAgent, HostInfo, VmUse, Vms, definePlugin } from '../../core/plugin-api.ts';
import { LoopbackAddresses } from '../usernet/capability.ts';
import { sshChecks } from './checks.ts';
import type { CheckRuntime } from './checks.ts';
import { warnOnce } from './authorized-keys.ts';
import { clientCheck } from './client-checks.ts';
import type { ClientCheckRuntime } from './client-checks.ts';
import { createClientSide } from './client-side.ts';
import { gatePath, openGate } from './gate.ts';
import { expandHostPath } from './host-path.ts';
import { identityStep } from './identity-step.ts';
import { ensureClientKey, ensureHostKey, readAuthorizedKeys } from './keys.ts';
import { createLoopbackListeners } from './loopback.ts';
import { sshMethods } from './methods.ts';
import { sshConfig } from './schema.ts';
import { createSshServer } from './server.ts';

const runtime: CheckRuntime & ClientCheckRuntime = {};

export default definePlugin({
  name: 'ssh',
  version: '0.1.0',
  apiVersion: 1,
  summary: 'SSH server for every running VM: sessions, sftp and forwards over the guest agent, with keys of its own',
  requires: [Activity, Exec, GuestAgent, HostInfo, VmUse, Vms],
  optional: [LoopbackAddresses],
  config: sshConfig,
  checks: [...sshChecks(runtime), clientCheck(runtime)],
  async setup(ctx) {
    const vms = ctx.use(Vms);
    const host = ctx.use(HostInfo);
    const client = await createClientSide({ dir: ctx.dirs.state, config: ctx.config, exec: ctx.use(Exec), host, vms, log: ctx.log });
    ctx.onDispose(() => client.close());
    ctx.step(identityStep(client.knownHosts));
    const methods = sshMethods({ client, vms });
    ctx.rpc('vm.ssh', methods['vm.ssh']);
    ctx.rpc('ssh.config', methods['ssh.config']);
    const keyPath = ctx.config.key_path === undefined ? undefined : expandHostPath(ctx.config.key_path);
    const clientKey = () => ensureClientKey(ctx.dirs.state, keyPath);
    const warn = warnOnce(ctx.log);
    const server = createSshServer({
      config: ctx.config, agent: ctx.use(GuestAgent), activity: ctx.use(Activity), use: ctx.use(VmUse), vms, log: ctx.log,
      hostKey: async (vm) => (await ensureHostKey(vm)).privateKey,
      authorizedKeys: async () => readAuthorizedKeys(ctx.config, await clientKey(), warn),
    });
    const loopback = createLoopbackListeners({
      port: ctx.config.loopback_port, addresses: ctx.useOptional(LoopbackAddresses), server, vms, log: ctx.log,
    });
    ctx.step(loopback.step);
    const stopListening = vms.onChange(({ kind, vm }) => {
      if (kind !== 'started') server.closeVm(vm.id, `VM ${vm.name} has ${kind === 'deleted' ? 'been deleted' : 'stopped'}`);
    });
    const path = gatePath(host);
    const gate = await openGate({ path, server, vms, log: ctx.log });
    Object.assign(runtime, { gatePath: path, configFile: client.configFile, keyDir: ctx.dirs.state, ...(keyPath === undefined ? {} : { keyPath }) });
    ctx.onDispose(async () => {
      stopListening();
      loopback.closeAll();
      await gate.close();
      server.close();
    });
  },
});
