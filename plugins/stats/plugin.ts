// Stats: wiring. It gets what it needs to watch VMs, and nothing that changes them but the stop of an unused one: a test pins the list.
import { GuestAgent, HostInfo, VmTeardown, VmUse, Vms, definePlugin } from '../../core/plugin-api.ts';
import { DiskFiles } from '../disks/capability.ts';
import { PortForwards } from '../usernet/capability.ts';
import { GuestListeners } from './capability.ts';
import { statsChecks } from './checks.ts';
import type { CheckRuntime } from './checks.ts';
import { askStat } from './guest/stat.ts';
import { statsMethods } from './methods.ts';
import { collectMetrics } from './metrics/collect.ts';
import { serveMetrics } from './metrics/serve.ts';
import { metricsText, sharedText } from './metrics/text.ts';
import { poll } from './poll.ts';
import { createGuestListeners } from './ports/listeners.ts';
import { portsMethod } from './ports/method.ts';
import { statsConfig } from './schema.ts';
import { watchStale } from './stale.ts';
import { Watch } from './watch.ts';

const runtime: CheckRuntime = {};
/** Of a guest that is well, on hardware; multiplied by the host's slowdown. */
const answerLimitMs = 2000;

export default definePlugin({
  name: 'stats',
  version: '0.1.0',
  apiVersion: 1,
  summary: 'What VMs are doing: figures, health, metrics, and the stop of those that nobody uses',
  requires: [Vms, VmUse, VmTeardown, GuestAgent, HostInfo],
  optional: [DiskFiles, PortForwards],
  provides: [GuestListeners],
  config: statsConfig,
  checks: statsChecks(runtime),
  setup(ctx) {
    const { config, log } = ctx;
    const [vms, use, agent, host] = [ctx.use(Vms), ctx.use(VmUse), ctx.use(GuestAgent), ctx.use(HostInfo)];
    const watch = new Watch({
      vms, log, disks: ctx.useOptional(DiskFiles), signal: ctx.signal, limitMs: () => answerLimitMs * host.slowdown,
      async ask(vm, options) {
        // After a restart of the daemon the agent's session is there once recovery has let go of the VM.
        if (watch.known(vm.id)?.figures.guestAtMs === undefined) await vms.running(vm.id, AbortSignal.any([options.signal, AbortSignal.timeout(options.limitMs)]));
        return askStat(agent, vm, options);
      },
    });
    const metrics = sharedText(() => metricsText(collectMetrics({ vms, use, watch })));
    const methods = statsMethods({ vms, use, watch, metrics });
    ctx.rpc('vm.stats', methods['vm.stats']);
    ctx.rpc('vm.health', methods['vm.health']);
    ctx.rpc('vm.ping', methods['vm.ping']);
    ctx.rpc('stats.metrics', methods['stats.metrics']);
    const listeners = createGuestListeners(agent, host);
    ctx.provide(GuestListeners, listeners);
    ctx.rpc('vm.ports', portsMethod({ vms, agent, host, listeners, forwards: ctx.useOptional(PortForwards) }));
    ctx.task('poll', (signal) => poll(watch, config.poll_interval, signal));
    if (config.auto_stop_stale_after > 0) {
      ctx.task('stale', (signal) => watchStale({ vms, use, log, teardown: ctx.use(VmTeardown), afterMs: config.auto_stop_stale_after }, signal));
    }
    const address = config.metrics_listen;
    if (address !== undefined) ctx.task('metrics', (signal) => serveMetrics({ address, text: metrics }, runtime, signal));
    Object.assign(runtime, { watch });
    ctx.onDispose(() => watch.close());
  },
});
