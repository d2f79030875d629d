// Finds images, and makes the missing ones: staged as a job of the ledger, published by one rename.
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { busy, createKeyedLock, notFound } from '../../core/plugin-api.ts';
import type { EnsureContext, Image, Images, JobContext, RunJob, Vms } from '../../core/plugin-api.ts';
import { makeStoreDir } from './artifact-store.ts';
import type { Artifact, ArtifactStore } from './artifact-store.ts';
import type { BuiltImage, ImageIdentity, ImageSource } from './capability.ts';
import { ext4FromTar, fileSize } from './ext4.ts';
import type { ImageManifest } from './schema.ts';
import { makeScratchDir } from './tools.ts';
import type { ImageTools } from './tools.ts';

/** Everything a build makes on the host, decided before it begins. */
export interface ImageBuildPlan { readonly [key: string]: string; readonly staging: string; readonly scratch: string }

export interface ImageServiceParts {
  readonly store: ArtifactStore<ImageManifest>;
  readonly tools: ImageTools;
  readonly vms: Pick<Vms, 'list'>;
  /** Called late: other plugins' sources are complete once all are set up. */
  readonly sources: () => readonly ImageSource[];
  readonly runJob: RunJob<ImageBuildPlan>;
  readonly installId: string;
  readonly defaultRef: string;
}

export interface ImageService extends Images {
  list(): Promise<readonly Image[]>;
  /** @throws not_found; ambiguous_ref */
  show(ref: string): Promise<Image>;
  /** @throws not_found; ambiguous_ref; busy while a VM uses it */
  delete(ref: string): Promise<{ readonly id: string; readonly name: string }>;
  /** Number of VMs made from an image. */
  usedBy(id: string): number;
}

/** Large files for other uids' package managers go to the disk-backed temporary directory, never to a home. */
export const scratchParent = '/var/tmp';

export function createImageService(parts: ImageServiceParts): ImageService {
  const { store, vms } = parts;
  const locks = createKeyedLock();
  const users = (id: string): string[] => vms.list().filter((vm) => vm.spec.image === id).map((vm) => vm.name);
  const require = async (ref: string): Promise<Artifact<ImageManifest>> => {
    const found = await store.find(ref);
    if (!found) throw notFound('image', ref);
    return found;
  };
  return {
    async ensure(ref = parts.defaultRef, ctx) {
      const local = await lookUp(parts, ref);
      if ('artifact' in local) return toImage(local.artifact);
      const { identity, source } = local;
      return locks.run(identity.name, { holder: `image build (${ctx.opId})`, signal: ctx.signal }, async () => {
        // Whoever held the lock may have made this very image.
        const again = await lookUp(parts, ref);
        return toImage('artifact' in again ? again.artifact : await build(parts, { ref, identity, source }, ctx));
      });
    },
    async get(id) {
      const found = await store.get(id);
      if (!found) throw notFound('image', id);
      return toImage(found);
    },
    list: async () => (await store.list()).map(toImage),
    show: async (ref) => toImage(await require(ref)),
    async delete(ref) {
      const { manifest } = await require(ref);
      return locks.run(manifest.name, { holder: 'image.delete' }, async () => {
        const names = users(manifest.id);
        if (names.length > 0) throw busy(`Image ${manifest.name}`, `used by ${names.slice(0, 5).join(', ')}${names.length > 5 ? ' and more' : ''}`);
        await store.remove(manifest.id);
        return { id: manifest.id, name: manifest.name };
      });
    },
    usedBy: (id) => users(id).length,
  };
}

type LookUp = { readonly artifact: Artifact<ImageManifest> } | { readonly identity: ImageIdentity; readonly source: ImageSource };

async function lookUp(parts: ImageServiceParts, ref: string): Promise<LookUp> {
  const found = await parts.store.find(ref);
  if (found) return { artifact: found };
  for (const source of parts.sources()) {
    const identity = await source.knows(ref);
    if (!identity) continue;
    const same = identity.origin === undefined ? undefined
      : (await parts.store.list()).find((a) => a.manifest.origin === identity.origin);
    return same ? { artifact: same } : { identity, source };
  }
  throw notFound('image', ref);
}

interface Wanted { readonly ref: string; readonly identity: ImageIdentity; readonly source: ImageSource }

async function build(parts: ImageServiceParts, wanted: Wanted, ctx: EnsureContext): Promise<Artifact<ImageManifest>> {
  const plan: ImageBuildPlan = {
    staging: parts.store.newStagingPath(),
    scratch: join(scratchParent, `banger-${parts.installId}-image-${randomBytes(4).toString('hex')}`),
  };
  return parts.runJob(plan, { opId: ctx.opId, signal: ctx.signal }, async (job) => {
    await makeStoreDir(parts.store.root);
    await mkdir(plan.staging, { mode: 0o700 });
    await makeScratchDir(plan.scratch);
    const artifact = await buildIn(parts, wanted, { plan, ctx, job });
    await removeBuildFiles(parts, plan);
    return artifact;
  });
}

interface BuildCall { readonly plan: ImageBuildPlan; readonly ctx: EnsureContext; readonly job: JobContext }

async function buildIn(parts: ImageServiceParts, wanted: Wanted, call: BuildCall): Promise<Artifact<ImageManifest>> {
  const { store, tools } = parts;
  const { ref, identity, source } = wanted;
  const { plan, job } = call;
  const stage = `image ${identity.name}`;
  const ctx = { ...call.ctx, signal: job.signal, mark: job.mark, scratch: plan.scratch };
  ctx.stage(stage, 'preparing');
  const work = join(plan.staging, 'work');
  const out = join(plan.staging, 'out');
  await mkdir(work);
  await mkdir(out);
  const built = await source.build(ref, work, ctx);
  const rootfs = join(out, 'rootfs.ext4');
  ctx.stage(stage, 'writing the file system');
  if (built.rootfs.kind === 'ext4') await rename(built.rootfs.path, rootfs);
  else await ext4FromTar(tools, { tar: built.rootfs.path, target: rootfs, staging: plan.staging }, ctx);
  ctx.stage(stage, 'checking');
  const digest = await digestFile(rootfs, job.signal);
  return store.publish(out, manifestOf({ id: digest, identity, built, sizeBytes: await fileSize(rootfs) }));
}

function manifestOf(parts: { id: string; identity: ImageIdentity; built: BuiltImage; sizeBytes: number }): ImageManifest {
  const { id, identity, built, sizeBytes } = parts;
  return {
    id, name: identity.name, createdAt: new Date().toISOString(), source: built.source, sizeBytes,
    config: structuredClone(built.config) as ImageManifest['config'],
    ...(identity.origin === undefined ? {} : { origin: identity.origin }),
  };
}

async function digestFile(path: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash, { signal });
  return hash.digest('hex');
}

/** Removes what a build left, in whatever state. Safe to run again: missing directories are no error. */
export async function removeBuildFiles(parts: Pick<ImageServiceParts, 'store' | 'tools'>, plan: ImageBuildPlan): Promise<void> {
  await parts.tools.removeOwnedTree(plan.scratch, dirname(plan.scratch));
  await parts.tools.removeOwnedTree(plan.staging, parts.store.root);
}

/** Whether a directory below the scratch parent is of an image build of this daemon. */
export function isOurScratch(path: string, installId: string): boolean {
  return basename(path).startsWith(`banger-${installId}-image-`);
}

function toImage({ dir, manifest }: Artifact<ImageManifest>): Image {
  const { id, name, createdAt, source, config, sizeBytes } = manifest;
  return { id, name, createdAt, source, config: config as Image['config'], sizeBytes, rootfsPath: join(dir, 'rootfs.ext4') };
}
