import { join } from 'node:path';
import { Activity, Exec, GuestAgent, HostInfo, Vms, definePlugin } from '../../core/plugin-api.ts';
import { GuestFiles } from './capability.ts';
import { createDirectCopies } from './direct.ts';
import { createGuestFiles } from './guest-files.ts';
import { copyMethod, hangupMs } from './methods.ts';
import { copyConfig } from './schema.ts';

export default definePlugin({
  name: 'copy',
  version: '0.1.0',
  apiVersion: 1,
  summary: 'Files and trees into guests and out of them, over the guest agent.',
  requires: [Activity, Exec, GuestAgent, HostInfo, Vms],
  provides: [GuestFiles],
  config: copyConfig,
  setup(ctx) {
    const [agent, host, activity] = [ctx.use(GuestAgent), ctx.use(HostInfo), ctx.use(Activity)];
    const copies = createDirectCopies(agent);
    ctx.rpc('vm.copy', copyMethod({ vms: ctx.use(Vms), agent, copies, host, activity, config: ctx.config, log: ctx.log, signal: ctx.signal }));
    ctx.provide(GuestFiles, createGuestFiles({
      copies, exec: ctx.use(Exec), program: join(host.nativeDir, 'copy'), activity, signal: ctx.signal,
      stallLimitMs: ctx.config.stall_timeout_seconds * 1000 * host.slowdown, hangupMs: hangupMs * host.slowdown,
    }));
  },
});
