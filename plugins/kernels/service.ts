// Finds kernels, and gets the missing ones: staged as a job of the ledger, published by one rename.
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { busy, createKeyedLock, notFound, removeTree } from '../../core/plugin-api.ts';
import type { EnsureContext, Exec, Kernel, Kernels, RunJob, Vms } from '../../core/plugin-api.ts';
import { makeStoreDir } from '../images/capability.ts';
import type { Artifact, ArtifactStore } from '../images/capability.ts';
import type { KernelSource } from './capability.ts';
import { defaultKernelName } from './debian.ts';
import { ensureInitrd } from './initrd.ts';
import { prepareKernel } from './prepare.ts';
import type { KernelManifest } from './schema.ts';

/** Everything a fetch makes on the host, decided before it begins. */
export interface KernelFetchPlan { readonly [key: string]: string; readonly staging: string; readonly scratch: string }

export interface KernelServiceParts {
  readonly store: ArtifactStore<KernelManifest>;
  readonly exec: Exec;
  readonly vms: Pick<Vms, 'list'>;
  /** Called late: other plugins' sources are complete once all are set up. */
  readonly sources: () => readonly KernelSource[];
  readonly runJob: RunJob<KernelFetchPlan>;
  readonly installId: string;
  /** The guest agent as it is now. */
  readonly agent: () => Promise<{ readonly hash: string; readonly content: Buffer }>;
}

export interface KernelView { readonly id: string; readonly name: string; readonly version: string; readonly createdAt: string; readonly source: string; readonly sizeBytes: number; readonly inUseBy: number }

export interface KernelService extends Kernels {
  list(): Promise<readonly KernelView[]>;
  /** @throws not_found; ambiguous_ref */
  show(ref: string): Promise<KernelView>;
  /** @throws not_found; ambiguous_ref; busy while a VM uses it */
  delete(ref: string): Promise<{ readonly id: string; readonly name: string }>;
  view(id: string): Promise<KernelView>;
}

/** apt may drop privileges to a uid that cannot enter our state directory. */
const scratchParent = '/var/tmp';

export function createKernelService(parts: KernelServiceParts): KernelService {
  const { store, vms } = parts;
  const locks = createKeyedLock();
  const users = (id: string): string[] => vms.list().filter((vm) => vm.spec.kernel === id).map((vm) => vm.name);
  const view = async ({ dir, manifest }: Artifact<KernelManifest>): Promise<KernelView> => {
    const { id, name, version, createdAt, source } = manifest;
    const { size } = await stat(join(dir, manifest.boot));
    return { id, name, version, createdAt, source, sizeBytes: size, inUseBy: users(id).length };
  };
  const require = async (ref: string): Promise<Artifact<KernelManifest>> => {
    const found = await store.find(ref);
    if (!found) throw notFound('kernel', ref);
    return found;
  };
  return {
    async ensure(wanted, ctx) {
      const ref = wanted ?? await defaultKernelName();
      const local = await store.find(ref);
      if (local) return toKernel(parts, local);
      const known = await findSource(parts, ref);
      return locks.run(known.name, { holder: `kernel pull (${ctx.opId})`, signal: ctx.signal }, async () =>
        // Whoever held the lock may have got this very kernel.
        toKernel(parts, await store.find(ref) ?? await fetch(parts, { ref, ...known }, ctx)));
    },
    get: async (id) => {
      const found = await store.get(id);
      if (!found) throw notFound('kernel', id);
      return toKernel(parts, found);
    },
    list: async () => Promise.all((await store.list()).map(view)),
    show: async (ref) => view(await require(ref)),
    view: async (id) => view(await require(id)),
    async delete(ref) {
      const { manifest } = await require(ref);
      return locks.run(manifest.name, { holder: 'kernel.delete' }, async () => {
        const names = users(manifest.id);
        if (names.length > 0) throw busy(`Kernel ${manifest.name}`, `used by ${names.slice(0, 5).join(', ')}${names.length > 5 ? ' and more' : ''}`);
        await store.remove(manifest.id);
        return { id: manifest.id, name: manifest.name };
      });
    },
  };
}

async function findSource(parts: KernelServiceParts, ref: string): Promise<{ readonly name: string; readonly source: KernelSource }> {
  for (const source of parts.sources()) {
    const known = await source.knows(ref);
    if (known) return { name: known.name, source };
  }
  throw notFound('kernel', ref);
}

interface Wanted { readonly ref: string; readonly name: string; readonly source: KernelSource }

async function fetch(parts: KernelServiceParts, wanted: Wanted, ctx: EnsureContext): Promise<Artifact<KernelManifest>> {
  const plan: KernelFetchPlan = {
    staging: parts.store.newStagingPath(),
    scratch: join(scratchParent, `banger-${parts.installId}-kernel-${randomBytes(4).toString('hex')}`),
  };
  return parts.runJob(plan, { opId: ctx.opId, signal: ctx.signal }, async (job) => {
    await makeStoreDir(parts.store.root);
    await mkdir(plan.staging, { mode: 0o700 });
    await mkdir(plan.scratch, { mode: 0o711 });
    await chmod(plan.scratch, 0o711);
    const fetched = await wanted.source.fetch(wanted.ref, { ...ctx, signal: job.signal, mark: job.mark, scratch: plan.scratch });
    ctx.stage(`kernel ${wanted.name}`, 'preparing kernel and modules');
    const { id, modules, boot } = await prepareKernel(parts.exec, fetched, { out: plan.staging, signal: job.signal, mark: job.mark });
    const artifact = await parts.store.publish(plan.staging, {
      id, name: wanted.name, version: fetched.version, source: fetched.source, createdAt: new Date().toISOString(), boot, modules: [...modules],
    });
    await removeFetchFiles(parts.store.root, plan);
    return artifact;
  });
}

/** Removes what a fetch left, in whatever state. Safe to run again: missing directories are no error. */
export async function removeFetchFiles(storeRoot: string, plan: KernelFetchPlan): Promise<void> {
  await removeTree(plan.scratch, { within: dirname(plan.scratch) });
  await removeTree(plan.staging, { within: storeRoot });
}

/** Boot messages cost time on an emulated serial port. Console and reboot words are the driver's. */
const cmdline = ['quiet'] as const;

async function toKernel(parts: KernelServiceParts, { dir, manifest }: Artifact<KernelManifest>): Promise<Kernel> {
  const initrdPath = await ensureInitrd(dir, manifest.modules, await parts.agent());
  const { id, name, version, createdAt, source } = manifest;
  return { id, name, version, createdAt, source, cmdline, initrdPath, kernelPath: join(dir, manifest.boot) };
}

/** Every directory of a fetch there is now, with the directory it lies in. */
export async function fetchLeftovers(store: ArtifactStore<KernelManifest>, installId: string): Promise<readonly { readonly path: string; readonly within: string }[]> {
  const scratch = (await readdir(scratchParent)).filter((name) => name.startsWith(`banger-${installId}-kernel-`));
  return [
    ...scratch.map((name) => ({ path: join(scratchParent, name), within: scratchParent })),
    ...(await store.leftovers()).map((path) => ({ path, within: store.root })),
  ];
}
