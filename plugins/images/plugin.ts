// Images: wiring.
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Exec, HostInfo, Images, Vms, definePlugin } from '../../core/plugin-api.ts';
import { createArtifactStore } from './artifact-store.ts';
import { ImageSource } from './capability.ts';
import { imageChecks } from './checks.ts';
import { createDebianSource } from './debian/source.ts';
import { createFileSource } from './file-source.ts';
import { imageMethods } from './methods.ts';
import { imageManifest, imagesConfig } from './schema.ts';
import type { ImageManifest } from './schema.ts';
import { createImageService, isOurScratch, removeBuildFiles, scratchParent } from './service.ts';
import type { ImageBuildPlan } from './service.ts';
import { createImageTools } from './tools.ts';

export default definePlugin({
  name: 'images', version: '0.1.0', apiVersion: 1, summary: 'Root file systems: local store, Debian recipe, local files.',
  requires: [Exec, HostInfo, Vms], optional: [ImageSource], provides: [Images], config: imagesConfig, checks: imageChecks,
  setup(ctx) {
    const host = ctx.use(HostInfo);
    const tools = createImageTools(ctx.use(Exec), host.uid);
    const store = createArtifactStore<ImageManifest>({
      what: 'image', root: join(host.stateDir, 'images'), parse: (value) => imageManifest.parse(value) as ImageManifest,
    });
    const own = [createFileSource(tools), createDebianSource(tools, { sources: ctx.config.debian_sources }, process.env)];
    const runJob = ctx.job<ImageBuildPlan>({
      name: 'images.build', undo: (plan) => removeBuildFiles({ store, tools }, plan),
    });
    const images = createImageService({
      store, tools, runJob, vms: ctx.use(Vms), installId: host.installId, defaultRef: 'debian-bookworm',
      sources: () => [...own, ...ctx.useAll(ImageSource).values()],
    });
    ctx.provide(Images, images);
    const methods = imageMethods(images);
    ctx.rpc('image.list', methods.list);
    ctx.rpc('image.show', methods.show);
    ctx.rpc('image.delete', methods.remove);
    ctx.rpc('image.pull', methods.pull);
    ctx.resources('images.build-directories', async () => {
      const scratch = (await readdir(scratchParent)).map((name) => join(scratchParent, name)).filter((path) => isOurScratch(path, host.installId));
      const found = [...scratch.map((path) => [path, scratchParent] as const), ...(await store.leftovers()).map((path) => [path, store.root] as const)];
      return found.map(([path, parent]) => ({ kind: 'directory', name: path, step: 'images.build', remove: () => tools.removeOwnedTree(path, parent) }));
    });
  },
});
