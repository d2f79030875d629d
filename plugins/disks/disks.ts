// The two disks of a VM: the root overlay over its image, and the work disk at /root. Both sparse, both for the VM's life.
import { chmod, chown, open, rename, rm, stat, statfs, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { badRequest, missingRequirement, wrongState } from '../../core/plugin-api.ts';
import type { Change, Exec, HostInfo, Images, Plan, PlanContext, StartContext, Step, UndoContext, Vm } from '../../core/plugin-api.ts';
import { createOverlay } from './qcow2.ts';
import { disksSection } from './schema.ts';
import type { DisksSection } from './schema.ts';
import { formatSize, parseSize } from './size.ts';

export interface DisksParts { readonly exec: Exec; readonly host: HostInfo; readonly images: Images }

export interface DiskPlan { readonly [key: string]: string | number; readonly path: string; readonly sizeBytes: number }
export interface RootPlan extends DiskPlan { readonly backingPath: string }

export const rootPath = (vm: Vm): string => join(vm.dir, 'root.qcow2');
export const workPath = (vm: Vm): string => join(vm.dir, 'work.img');
/** Absent for VMs made before the plugin was enabled: then the defaults. */
export const sectionOf = (sections: Vm['spec']['sections']): DisksSection => disksSection.parse(sections['disks'] ?? {});
const bytesOf = (text: string): number => parseSize(text) ?? 0;
const toolTimeoutMs = 60_000;

/** @throws not_found when the image is gone */
export async function planRoot(parts: Pick<DisksParts, 'images'>, vm: Vm): Promise<RootPlan> {
  const image = await parts.images.get(vm.spec.image);
  return { path: rootPath(vm), sizeBytes: Math.max(bytesOf(sectionOf(vm.spec.sections).rootSize), image.sizeBytes), backingPath: image.rootfsPath };
}

export const planWork = (vm: Vm): DiskPlan => ({ path: workPath(vm), sizeBytes: bytesOf(sectionOf(vm.spec.sections).workSize) });

/** Overlay over the image, as large as asked for and never smaller than the image. */
export function rootStep(parts: DisksParts): Step<RootPlan, null> {
  return {
    name: 'disks.root', phase: 'storage', lifetime: 'vm', timeoutMs: 30_000,
    async plan({ vm }: PlanContext): Promise<Plan<RootPlan>> {
      const data = await planRoot(parts, vm);
      return { data, makes: [`file ${data.path} (up to ${formatSize(data.sizeBytes)})`] };
    },
    async run(ctx, plan) {
      await createDisk(parts, ctx, plan.path, (draft) => createOverlay(draft, plan));
      return null;
    },
    undo: (_ctx, plan) => removeDisk(plan.path),
  };
}

/** Raw file with an empty ext4; the guest seeds it from the image's /root on the first boot. */
export function workStep(parts: DisksParts): Step<DiskPlan, null> {
  return {
    name: 'disks.work', phase: 'storage', lifetime: 'vm', timeoutMs: 90_000,
    plan({ vm }: PlanContext): Plan<DiskPlan> {
      const data = planWork(vm);
      return { data, makes: [`file ${data.path} (up to ${formatSize(data.sizeBytes)})`] };
    },
    async run(ctx, plan) {
      await createDisk(parts, ctx, plan.path, (draft) => formatWorkDisk(parts.exec, draft,
        { sizeBytes: plan.sizeBytes, signal: ctx.signal, mark: `${ctx.vm.mark}/disks.work` }));
      return null;
    },
    undo: (_ctx, plan) => removeDisk(plan.path),
  };
}

/**
 * Makes a file of that size with an empty ext4. 4 KiB blocks whatever the size: mke2fs takes 1 KiB below 512 MiB, and such a file
 * system grows badly. Tables need no initialising later, since a new file reads as zeros.
 */
export async function formatWorkDisk(exec: Exec, path: string, options: { readonly sizeBytes: number; readonly signal: AbortSignal; readonly mark: string }): Promise<void> {
  await (await open(path, 'wx', 0o600)).close();
  await truncate(path, options.sizeBytes);
  await exec.run('mke2fs', ['-F', '-q', '-t', 'ext4', '-b', '4096', '-m', '0', '-E', 'root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1', path],
    { timeoutMs: toolTimeoutMs, signal: options.signal, mark: options.mark });
}

/**
 * Writes a disk beside its place and renames it: a disk that is there is complete. One that is there already is kept, it may
 * hold the user's work.
 */
async function createDisk(parts: DisksParts, ctx: StartContext, path: string, write: (draft: string) => Promise<void>): Promise<void> {
  if (await exists(path)) return;
  await replaceDisk(parts, ctx.vm, { path, write: async (draft) => { await write(draft); await ctx.touched(); } });
}

/** Puts a new disk in the place of one, which is lost, by rename. */
export async function replaceDisk(parts: Pick<DisksParts, 'host'>, vm: Vm, disk: { readonly path: string; readonly write: (draft: string) => Promise<void> }): Promise<void> {
  const draft = draftOf(disk.path);
  await rm(draft, { force: true });
  await disk.write(draft);
  await chmod(draft, 0o600);
  const owner = parts.host.vmUid(vm);
  if (owner !== undefined) await chown(draft, owner, owner);
  await rename(draft, disk.path);
}

const draftOf = (path: string): string => `${path}.new`;
const exists = (path: string): Promise<boolean> => stat(path).then(() => true, () => false);

/** Safe to run again: a missing file is no error. */
async function removeDisk(path: string): Promise<void> {
  await rm(draftOf(path), { force: true });
  await rm(path, { force: true });
}

/** Refuses a start on a full disk while nothing is made yet. */
export function spaceStep(minFreeMiB: number): Step<{ readonly minFreeMiB: number }, null> {
  return {
    name: 'disks.space', phase: 'preflight', timeoutMs: 10_000,
    plan: () => (minFreeMiB === 0 ? undefined : { data: { minFreeMiB }, makes: [] }),
    async run({ vm }, plan) {
      await requireFreeSpace(vm.dir, plan.minFreeMiB);
      return null;
    },
  };
}

/** @throws missing_requirement with both figures */
export async function requireFreeSpace(dir: string, minFreeMiB: number): Promise<void> {
  const free = await statfs(dir);
  const freeMiB = Math.floor((free.bavail * free.bsize) / 2 ** 20);
  if (freeMiB >= minFreeMiB) return;
  throw missingRequirement(`The file system of ${dir} has ${freeMiB} MiB free, a start needs ${minFreeMiB} MiB`,
    'delete VMs or images that are no longer needed, or lower min_free_mib in [plugins.disks]');
}

/** `vm set` of a size: only larger, only while stopped. The files grow now, the file systems at the next boot. */
export async function growDisks(parts: DisksParts, vm: Vm, change: Change, ctx: UndoContext): Promise<void> {
  const before = sectionOf(change.before.sections);
  const after = sectionOf(change.after.sections);
  requireGrowth(vm, { before, after, running: change.running });
  if (after.rootSize !== before.rootSize) await growRoot(parts, vm, bytesOf(after.rootSize), ctx);
  if (after.workSize !== before.workSize) await growWork(workPath(vm), bytesOf(after.workSize));
}

/** @throws wrong_state while it runs; bad_request naming each size that shrinks */
function requireGrowth(vm: Vm, sizes: { before: DisksSection; after: DisksSection; running: boolean }): void {
  const keys = (['rootSize', 'workSize'] as const).filter((key) => sizes.before[key] !== sizes.after[key]);
  if (keys.length > 0 && sizes.running) throw wrongState(vm.name, 'running', 'stopped: disks grow while it is stopped');
  const shrinking = keys.filter((key) => bytesOf(sizes.after[key]) < bytesOf(sizes.before[key]));
  if (shrinking.length > 0) {
    throw badRequest(shrinking.map((key) => ({ path: key, message: `disks cannot shrink: it is ${sizes.before[key]}` })));
  }
}

/** qemu-img also enlarges the overlay's own tables. A disk not made yet gets its size at the first start. */
async function growRoot(parts: DisksParts, vm: Vm, sizeBytes: number, ctx: UndoContext): Promise<void> {
  const path = rootPath(vm);
  const image = await parts.images.get(vm.spec.image);
  if (!await exists(path) || sizeBytes <= image.sizeBytes) return;
  const info = await parts.exec.run('qemu-img', ['info', '--output=json', '-f', 'qcow2', path], { timeoutMs: toolTimeoutMs, signal: ctx.signal });
  const current = Number((JSON.parse(info.stdout) as { 'virtual-size'?: unknown })['virtual-size'] ?? 0);
  if (sizeBytes <= current) return;
  await parts.exec.run('qemu-img', ['resize', '-q', '-f', 'qcow2', path, String(sizeBytes)], { timeoutMs: toolTimeoutMs, signal: ctx.signal });
}

async function growWork(path: string, sizeBytes: number): Promise<void> {
  const file = await stat(path).catch(() => undefined);
  if (file && file.size < sizeBytes) await truncate(path, sizeBytes);
}
