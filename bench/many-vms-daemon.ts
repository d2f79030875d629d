// Composition root of a bench: the real daemon with VMs that boot nothing, a process each, whose guests answer at once from memory.
import { PassThrough } from 'node:stream';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { z } from 'zod';
import { startDaemon } from '../core/daemon.ts';
import { Exec, GuestAgent, Images, Kernels, Processes, VmmDriver, definePlugin, unsupported } from '../core/plugin-api.ts';
import type { GuestProcess, Image, Kernel, ProcessIdentity, Step } from '../core/plugin-api.ts';
import stats from '../plugins/stats/plugin.ts';
import { createFakeDriver, endFake, startFakeVmm } from '../test/support/fake-vmm.ts';

const made = { createdAt: '2026-01-01T00:00:00.000Z', source: 'bench' };
const image: Image = { id: 'bench-image', name: 'bench', rootfsPath: '/dev/null', sizeBytes: 0, config: { env: {} }, ...made };
const kernel: Kernel = { id: 'bench-kernel', name: 'bench', version: '0', kernelPath: '/dev/null', initrdPath: '/dev/null', cmdline: [], ...made };

const section = (name: string, body: string): string => `${name} ${Buffer.byteLength(body)}\n${body}\n`;
const answer = Buffer.from([
  section('stat', 'cpu  1200 30 450 98000 700 5 60 40 11 0\nbtime 1795305647\n'),
  section('meminfo', 'MemTotal:         497284 kB\nMemAvailable:     402116 kB\nSwapTotal:             0 kB\nSwapFree:              0 kB\n'),
  section('loadavg', '0.42 0.20 1.07 2/87 913\n'), section('uptime', '998.31 980.02\n'),
  section('netdev', '  eth0: 6890115   20098    0    0    0     0          0         0 10980  1084    0    0    0     0       0          0\n'),
  section('fs:/', '4096 2000000 1500000 1400000 524288 500000\n'), section('fs:/root', '4096 1000 900 800 100 90\n'),
].join(''));

function answering(): GuestProcess {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  stdout.end(answer);
  stderr.end();
  return { stdin, stdout, stderr, exit: Promise.resolve({ code: 0 }), resize: () => undefined, signal: () => undefined, hangup: () => undefined };
}

type Plan = { readonly mark: string; readonly logFile: string };
type Handle = { readonly process: { readonly [K in keyof ProcessIdentity]: ProcessIdentity[K] } };

function bootStep(exec: Exec, processes: Processes): Step<Plan, Handle> {
  return {
    name: 'bench.vmm', phase: 'boot', lifeline: true, timeoutMs: 60_000,
    plan: ({ vm }) => ({ data: { mark: `${vm.mark}/bench.vmm`, logFile: '/dev/null' }, makes: ['process sleep'] }),
    run: async (_, plan) => ({ process: { ...await startFakeVmm(exec, { ...plan, kind: 'obedient' }) } }),
    // Nothing to do for a process that is gone.
    undo: (_, plan, handle) => endFake(processes, plan.mark, handle?.process),
  };
}

const vms = definePlugin({
  name: 'bench', version: '0.0.0', apiVersion: 1, summary: 'VMs that boot nothing.', requires: [Exec, Processes],
  provides: [VmmDriver, GuestAgent, Images, Kernels], config: z.strictObject({}),
  setup(ctx) {
    ctx.provide(VmmDriver, createFakeDriver());
    ctx.provide(Images, { ensure: async () => image, get: async () => image, find: async () => image });
    ctx.provide(Kernels, { ensure: async () => kernel, get: async () => kernel, find: async () => kernel });
    ctx.provide(GuestAgent, {
      info: async () => ({ version: '0', protocol: 1, bootId: 'bench', init: 'agent' }), exec: async () => answering(),
      dial: async () => { throw unsupported('Connections'); }, listen: async () => { throw unsupported('Listening'); },
      bulkSocket: () => undefined, shutdown: async () => undefined,
    });
    ctx.step(bootStep(ctx.use(Exec), ctx.use(Processes)));
    const loop = monitorEventLoopDelay({ resolution: 5 });
    loop.enable();
    // Begins a measurement; the one before it is what it answers.
    ctx.rpc('bench.measure', {
      summary: 'CPU time so far, and the delays of the event loop since the last call', effect: 'read', params: z.strictObject({}), result: z.any(),
      handler() {
        const { user, system } = process.cpuUsage();
        const ms = (ns: number): number => Math.round(ns / 10_000) / 100;
        const result = { cpuSeconds: (user + system) / 1e6, delayMs: { mean: ms(loop.mean), p50: ms(loop.percentile(50)), p99: ms(loop.percentile(99)), max: ms(loop.max) } };
        loop.reset();
        return result;
      },
    });
  },
});

await startDaemon({ plugins: [vms, stats] });
