// A driver plugin on the fake VMM, with a step in every phase: enough to try every path of the lifecycle without a guest.
import { existsSync, readdirSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { z } from 'zod';
import {
  definePlugin, Exec, GuestAgent, HostInfo, Images, Kernels, Processes, VmmDriver, Vms, notFound,
} from '../../core/plugin-api.ts';
import type { HostResource, Image, Kernel, PluginDefinition, ProcessIdentity, Step, Vm } from '../../core/plugin-api.ts';
import operations from '../../plugins/operations/plugin.ts';
import { createFakeAgent, createFakeDriver, endFake, startFakeVmm } from './fake-vmm.ts';
import type { FakeVmmKind } from './fake-vmm.ts';

const createdAt = '2026-01-01T00:00:00.000Z';
const image: Image = {
  id: 'fake-image-1', name: 'fake', rootfsPath: '/dev/null', sizeBytes: 0, config: { env: { FROM_IMAGE: '1' } }, createdAt, source: 'fake',
};
const kernel: Kernel = {
  id: 'fake-kernel-1', name: 'fake', version: '0', kernelPath: '/dev/null', initrdPath: '/dev/null', cmdline: ['quiet'], createdAt, source: 'fake',
};

export interface FakeDriverOptions {
  /** @default obedient */
  readonly vmm?: FakeVmmKind;
  /** Told of every call of a step, in order. */
  readonly onCall?: (call: { readonly kind: 'run' | 'undo' | 'adopt'; readonly step: string; readonly vm: Vm }) => void;
  /** More steps, in front of the driver's own within their phase. */
  readonly steps?: readonly Step[];
  /** Where a VM's agent listens: the agent plugin then talks to it, in place of the agent that runs commands on the host. */
  readonly agentSocket?: (vm: Vm) => string;
  /** The words that do on the host what the agent's own program would do in the guest. */
  readonly builtin?: (vm: Vm, words: readonly string[]) => readonly string[];
  /** The driver has no `pause`. */
  readonly cannotPause?: boolean;
  /** In place of a VMM that goes on. */
  readonly resume?: (vm: Vm) => Promise<void>;
  /** `GuestAgent.syncClock`. */
  readonly syncClock?: (vm: Vm, signal: AbortSignal) => Promise<void>;
}

/** Everything a daemon needs to run fake VMs. */
export function fakeDriverPlugins(options: FakeDriverOptions = {}): PluginDefinition[] {
  return [fakeDriver(options) as unknown as PluginDefinition, operations as unknown as PluginDefinition];
}

type Call = NonNullable<FakeDriverOptions['onCall']>;
interface FilePlan { readonly path: string; readonly [key: string]: string }
interface ProcessPlan { readonly mark: string; readonly logFile: string; readonly [key: string]: string }
type ProcessHandle = { readonly process: { readonly [K in keyof ProcessIdentity]: ProcessIdentity[K] } };

function fakeDriver(options: FakeDriverOptions) {
  const onCall: Call = options.onCall ?? (() => undefined);
  return definePlugin({
    name: 'fake', version: '0.0.0', apiVersion: 1, summary: 'Runs VMs that boot nothing.',
    requires: [Exec, Processes, HostInfo, Vms],
    provides: options.agentSocket === undefined ? [VmmDriver, GuestAgent, Images, Kernels] : [VmmDriver, Images, Kernels],
    config: z.strictObject({}),
    spec: {
      schema: z.strictObject({ note: z.string().max(20).default('') }),
      flags: [{ name: 'note', key: 'note', type: 'string', summary: 'A note', verbs: ['run', 'create', 'set'] }],
      columns: [{ header: 'NOTE', key: 'note' }],
    },
    setup(ctx) {
      const [exec, processes, hostInfo] = [ctx.use(Exec), ctx.use(Processes), ctx.use(HostInfo)];
      const signalVmm = (vm: Vm, signal: NodeJS.Signals): void => {
        for (const { process: { pid } } of processes.findByMark(`${vm.mark}/fake.vmm`)) process.kill(pid, signal);
      };
      ctx.provide(VmmDriver, createFakeDriver({ agentSocket: options.agentSocket, resume: options.resume, signal: options.cannotPause === true ? undefined : signalVmm }));
      if (options.agentSocket === undefined) ctx.provide(GuestAgent, createFakeAgent({ builtin: options.builtin, vms: ctx.use(Vms), syncClock: options.syncClock }));
      ctx.provide(Images, { ensure: (ref) => pick(image, 'image', ref), get: (id) => pick(image, 'image', id), find: (ref) => pick(image, 'image', ref) });
      ctx.provide(Kernels, { ensure: (ref) => pick(kernel, 'kernel', ref), get: (id) => pick(kernel, 'kernel', id), find: (ref) => pick(kernel, 'kernel', ref) });
      for (const step of options.steps ?? []) ctx.step(step);
      ctx.step(fileStep({ name: 'fake.check', phase: 'preflight', file: 'check', onCall }));
      ctx.step(fileStep({ name: 'fake.disk', phase: 'storage', file: 'disk.raw', lifetime: 'vm', onCall }));
      ctx.step(fileStep({ name: 'fake.initrd', phase: 'guest', file: 'initrd', onCall }));
      ctx.step(processStep({ name: 'fake.netns', phase: 'network', exec, processes, kind: 'obedient', onCall }));
      ctx.step(processStep({ name: 'fake.vmm', phase: 'boot', lifeline: true, exec, processes, kind: options.vmm ?? 'obedient', onCall }));
      ctx.step(fileStep({ name: 'fake.ready', phase: 'ready', file: 'agent.ready', onCall }));
      ctx.step(socketStep(hostInfo, onCall));
      ctx.beforeStop({
        name: 'fake.poweroff', timeoutMs: 2_000,
        run: async ({ vm }) => signalVmm(vm, 'SIGTERM'),
      });
      ctx.contribute('guest', 'fake.note', (guest, { vm }) => ({ ...guest, files: [...guest.files, { path: '/run/note', mode: 0o644, content: noteOf(vm) }] }));
      ctx.reconfigure('fake.note', async (vm, { after }) => {
        if ((after.sections['fake'] as { note?: string }).note === 'refuse') throw notFound('note', vm.name);
      });
      ctx.resources('files', () => Promise.resolve(listFiles(hostInfo.stateDir)));
    },
  });
}

function noteOf(vm: Vm): string {
  return (vm.spec.sections['fake'] as { readonly note?: string } | undefined)?.note ?? '';
}

async function pick<T extends { readonly id: string; readonly name: string }>(only: T, what: string, ref: string | undefined): Promise<T> {
  if (ref !== undefined && ref !== only.id && ref !== only.name) throw notFound(what, ref);
  return only;
}

interface FileStep {
  readonly name: string; readonly phase: Step['phase']; readonly file: string; readonly lifetime?: 'vm'; readonly onCall: Call;
}

function fileStep({ name, phase, file, lifetime, onCall }: FileStep): Step<FilePlan, { size: number }> {
  return {
    name, phase, timeoutMs: 10_000, ...(lifetime === undefined ? {} : { lifetime }),
    plan: ({ vm }) => ({ data: { path: `${vm.dir}/${file}` }, makes: [`file ${vm.dir}/${file}`] }),
    async run(ctx, plan) {
      onCall({ kind: 'run', step: name, vm: ctx.vm });
      await writeFile(plan.path, ctx.vm.id);
      await ctx.touched();
      return { size: (await readFile(plan.path)).length };
    },
    // Removing a file that is not there is no error.
    async undo({ vm }, plan) {
      onCall({ kind: 'undo', step: name, vm });
      await rm(plan.path, { force: true });
    },
  };
}

interface ProcessStep {
  readonly name: string; readonly phase: Step['phase']; readonly lifeline?: true; readonly kind: FakeVmmKind;
  readonly exec: Exec; readonly processes: Processes; readonly onCall: Call;
}

function processStep({ name, phase, lifeline, kind, exec, processes, onCall }: ProcessStep): Step<ProcessPlan, ProcessHandle> {
  return {
    name, phase, timeoutMs: 10_000, ...(lifeline === undefined ? {} : { lifeline }),
    plan: ({ vm }) => ({
      data: { mark: `${vm.mark}/${name}`, logFile: `${vm.dir}/console-${name}.log` }, makes: [`process ${name}`],
    }),
    async run(ctx, plan) {
      onCall({ kind: 'run', step: name, vm: ctx.vm });
      const process = await startFakeVmm(exec, { ...plan, kind });
      await ctx.touched();
      return { process: { ...process } };
    },
    // Found by mark when the handle was lost; a process that is gone is not killed again.
    async undo({ vm }, plan, handle) {
      onCall({ kind: 'undo', step: name, vm });
      await endFake(processes, plan.mark, handle?.process);
    },
    async adopt({ vm }) { onCall({ kind: 'adopt', step: name, vm }); },
  };
}

/** A listener in the daemon itself: gone with it, and had again by `adopt`. */
function socketStep(hostInfo: HostInfo, onCall: Call): Step<FilePlan, null> {
  const name = 'fake.publish';
  const servers = new Map<string, Server>();
  const listen = async (vm: Vm, path: string): Promise<void> => {
    await rm(path, { force: true });
    const server = createServer((socket) => socket.end('published'));
    servers.set(vm.id, server);
    await new Promise<void>((resolve, reject) => { server.once('error', reject).listen(path, resolve); });
    server.unref();
  };
  return {
    name, phase: 'publish', timeoutMs: 10_000,
    plan: ({ vm }) => ({ data: { path: hostInfo.socketPath(vm.id, 'publish') }, makes: [`socket ${hostInfo.socketPath(vm.id, 'publish')}`] }),
    async run(ctx, plan) {
      onCall({ kind: 'run', step: name, vm: ctx.vm });
      await listen(ctx.vm, plan.path);
      await ctx.touched();
      return null;
    },
    async adopt({ vm }, plan) {
      onCall({ kind: 'adopt', step: name, vm });
      await listen(vm, plan.path);
    },
    // Closing and removing what is not there does nothing.
    async undo({ vm }, plan) {
      onCall({ kind: 'undo', step: name, vm });
      servers.get(vm.id)?.close();
      servers.delete(vm.id);
      await rm(plan.path, { force: true });
    },
  };
}

const fileSteps: Readonly<Record<string, string>> = { check: 'fake.check', 'disk.raw': 'fake.disk', initrd: 'fake.initrd', 'agent.ready': 'fake.ready', 'publish.sock': 'fake.publish' };

function listFiles(stateDir: string): HostResource[] {
  const vms = `${stateDir}/vms`;
  if (!existsSync(vms)) return [];
  return readdirSync(vms).flatMap((vmId) => readdirSync(`${vms}/${vmId}`).flatMap((file) => {
    const step = fileSteps[file];
    const path = `${vms}/${vmId}/${file}`;
    return step === undefined ? [] : [{ kind: 'file', name: path, vmId, step, remove: () => rm(path, { force: true }) }];
  }));
}
