// The kernel and the image that tests with real guests share. Made by the plugins' own code, once, and kept in the checkout's
// cache until the recipe changes.
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { dirname, join } from 'node:path';
import { createExec } from '../../core/exec.ts';
import { nativeDir, removeTree } from '../../core/paths.ts';
import type { EnsureContext, Image, Kernel, RunJob } from '../../core/plugin-api.ts';
import { createArtifactStore } from '../../plugins/images/artifact-store.ts';
import { createDebianSource } from '../../plugins/images/debian/source.ts';
import { createFileSource } from '../../plugins/images/file-source.ts';
import { imageManifest } from '../../plugins/images/schema.ts';
import type { ImageManifest } from '../../plugins/images/schema.ts';
import { createImageService, removeBuildFiles } from '../../plugins/images/service.ts';
import type { ImageBuildPlan, ImageService } from '../../plugins/images/service.ts';
import { createImageTools } from '../../plugins/images/tools.ts';
import { createDebianKernelSource } from '../../plugins/kernels/debian.ts';
import { createAgentReader } from '../../plugins/kernels/initrd.ts';
import { kernelManifest } from '../../plugins/kernels/schema.ts';
import { createKernelService, removeFetchFiles } from '../../plugins/kernels/service.ts';
import type { KernelFetchPlan, KernelService } from '../../plugins/kernels/service.ts';
import { repoRoot } from './source-tree.ts';

const recipeFiles = ['plugins/images/debian/recipe.ts', 'plugins/images/ext4.ts', 'plugins/kernels/modules.ts', 'plugins/kernels/prepare.ts'];

/**
 * Directory with `images/` and `kernels/`, laid out as a state directory's. Root's is made so that other uids can read it, outside the
 * checkout where that lies below a closed directory.
 */
export function assetsDir(): string {
  const hash = createHash('sha256');
  for (const file of recipeFiles) hash.update(readFileSync(join(repoRoot, file)));
  return join(assetsRoot(), `${uid()}-${hash.digest('hex').slice(0, 8)}`);
}

const uid = (): number => process.getuid?.() ?? 0;

function assetsRoot(): string {
  if (uid() !== 0 || isOpenToOthers(repoRoot)) return join(repoRoot, '.cache', 'test-assets');
  return `/var/tmp/banger-test-assets-${createHash('sha256').update(repoRoot).digest('hex').slice(0, 8)}`;
}

function isOpenToOthers(dir: string): boolean {
  return (statSync(dir).mode & 0o001) !== 0 && (dir === '/' || isOpenToOthers(dirname(dir)));
}

/** Makes what is missing; concurrent test runs wait for each other. `say` gets progress lines. */
export async function ensureGuestAssets(say: (line: string) => void): Promise<{ readonly image: Image; readonly kernel: Kernel }> {
  const dir = assetsDir();
  const lock = await takeLock(dir);
  try {
    mkdirSync(dir, { recursive: true, mode: 0o755 });
    for (const path of [dirname(dir), dir]) chmodSync(path, 0o755);
    await removeOthers(dir);
    const { images, kernels } = openStores(dir);
    const ctx = progressContext(say);
    return { kernel: await kernels.ensure(undefined, ctx), image: await images.ensure('debian-bookworm', ctx) };
  } finally {
    lock.close();
  }
}

/** An abstract socket: whoever listens holds the lock, and a crash gives it back. */
async function takeLock(dir: string): Promise<Server> {
  const name = `\0banger-test-assets-${createHash('sha256').update(dir).digest('hex').slice(0, 16)}`;
  for (const end = Date.now() + 15 * 60_000; Date.now() < end;) {
    const server = await new Promise<Server | undefined>((resolve, reject) => {
      const candidate = createServer().once('error', (error: NodeJS.ErrnoException) => (error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error)));
      candidate.listen(name, () => resolve(candidate));
    });
    if (server) return server.unref();
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error('another test run has been preparing the guest assets for 15 minutes');
}

/** Assets of earlier recipes of the same user. */
async function removeOthers(dir: string): Promise<void> {
  const root = dirname(dir);
  for (const name of readdirSync(root)) {
    const path = join(root, name);
    if (path !== dir && name.startsWith(`${uid()}-`)) await removeTree(path, { within: root });
  }
}

/** The stores below a directory with the built-in sources and no daemon: a failed build is undone here. */
export function openStores(dir: string): { readonly images: ImageService; readonly kernels: KernelService } {
  const exec = createExec();
  const tools = createImageTools(exec, uid());
  const vms = { list: () => [] };
  const installId = createHash('sha256').update(dir).digest('hex').slice(0, 8);
  const imageStore = createArtifactStore<ImageManifest>({ what: 'image', root: join(dir, 'images'), parse: (value) => imageManifest.parse(value) as ImageManifest });
  const kernelStore = createArtifactStore({ what: 'kernel', root: join(dir, 'kernels'), parse: (value) => kernelManifest.parse(value) });
  const images = createImageService({
    tools, installId, store: imageStore, vms, defaultRef: 'debian-bookworm',
    sources: () => [createFileSource(tools), createDebianSource(tools, { sources: [] }, process.env)],
    runJob: jobRunner<ImageBuildPlan>(installId, (plan) => removeBuildFiles({ store: imageStore, tools }, plan)),
  });
  const kernels = createKernelService({
    exec, installId, store: kernelStore, vms, agent: createAgentReader(join(nativeDir(), 'agent')),
    sources: () => [createDebianKernelSource(exec)],
    runJob: jobRunner<KernelFetchPlan>(installId, (plan) => removeFetchFiles(kernelStore.root, plan)),
  });
  return { images, kernels };
}

function jobRunner<P extends ImageBuildPlan | KernelFetchPlan>(installId: string, undo: (plan: P) => Promise<void>): RunJob<P> {
  return async (plan, call, fn) => {
    try {
      return await fn({ mark: `${installId}/job-test/assets`, signal: call.signal });
    } catch (error) {
      await undo(plan);
      throw error;
    }
  };
}

function progressContext(say: (line: string) => void): EnsureContext {
  let last = '';
  return {
    opId: 'op-test', signal: new AbortController().signal,
    stage(name, detail = '') {
      // One line for a run of counters.
      const kind = `${name}: ${detail.replace(/\d+\/\d+$/, '')}`;
      if (kind !== last) say(`${name}: ${detail}`);
      last = kind;
    },
  };
}
