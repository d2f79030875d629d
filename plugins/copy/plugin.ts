import { Activity, GuestAgent, HostInfo, Vms, definePlugin } from '../../core/plugin-api.ts';
import { copyMethod } from './methods.ts';
import { copyConfig } from './schema.ts';

export default definePlugin({
  name: 'copy',
  version: '0.1.0',
  apiVersion: 1,
  summary: 'Files and trees into guests and out of them, over the guest agent.',
  requires: [Activity, GuestAgent, HostInfo, Vms],
  config: copyConfig,
  setup(ctx) {
    ctx.rpc('vm.copy', copyMethod({
      vms: ctx.use(Vms), agent: ctx.use(GuestAgent), host: ctx.use(HostInfo), activity: ctx.use(Activity),
      config: ctx.config, log: ctx.log, signal: ctx.signal,
    }));
  },
});
