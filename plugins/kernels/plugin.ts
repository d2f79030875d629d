// Kernels: wiring.
import { join } from 'node:path';
import { Exec, HostInfo, Kernels, Vms, definePlugin, removeTree } from '../../core/plugin-api.ts';
import { createArtifactStore } from '../images/capability.ts';
import { KernelSource } from './capability.ts';
import { kernelChecks } from './checks.ts';
import { createDebianKernelSource } from './debian.ts';
import { createAgentReader } from './initrd.ts';
import { kernelMethods } from './methods.ts';
import { kernelManifest, kernelsConfig } from './schema.ts';
import { createKernelService, fetchLeftovers, removeFetchFiles } from './service.ts';
import type { KernelFetchPlan } from './service.ts';

export default definePlugin({
  name: 'kernels', version: '0.1.0', apiVersion: 1, summary: 'Guest kernels and the base initrd: local store, Debian cloud kernel.',
  requires: [Exec, HostInfo, Vms], optional: [KernelSource], provides: [Kernels], config: kernelsConfig, checks: kernelChecks,
  setup(ctx) {
    const host = ctx.use(HostInfo);
    const exec = ctx.use(Exec);
    const store = createArtifactStore({ what: 'kernel', root: join(host.stateDir, 'kernels'), parse: (value) => kernelManifest.parse(value) });
    const debian = createDebianKernelSource(exec);
    const runJob = ctx.job<KernelFetchPlan>({ name: 'kernels.fetch', undo: (plan) => removeFetchFiles(store.root, plan) });
    const kernels = createKernelService({
      store, exec, runJob, vms: ctx.use(Vms), installId: host.installId, agent: createAgentReader(join(host.nativeDir, 'agent')),
      sources: () => [debian, ...ctx.useAll(KernelSource).values()],
    });
    ctx.provide(Kernels, kernels);
    const methods = kernelMethods(kernels);
    ctx.rpc('kernel.list', methods.list);
    ctx.rpc('kernel.show', methods.show);
    ctx.rpc('kernel.delete', methods.remove);
    ctx.rpc('kernel.pull', methods.pull);
    ctx.resources('kernels.fetch-directories', async () => (await fetchLeftovers(store, host.installId)).map(({ path, within }) => ({
      kind: 'directory', name: path, step: 'kernels.fetch', remove: () => removeTree(path, { within }),
    })));
  },
});
