// Shapes of the kernels plugin: configuration, manifest on disk, RPC.
import { z } from 'zod';

export const kernelsConfig = z.strictObject({});

/** `manifest.json` of a kernel. */
export const kernelManifest = z.object({
  id: z.string(),
  name: z.string(),
  version: z.string(),
  source: z.string(),
  createdAt: z.string(),
  /** File name of what boots fastest. */
  boot: z.enum(['vmlinux', 'vmlinuz']),
  /** Names in load order; files are `modules/<name>.ko`. */
  modules: z.array(z.string().regex(/^[a-z0-9_]+$/)),
});
export type KernelManifest = z.output<typeof kernelManifest>;

export const kernelRef = z.strictObject({
  ref: z.string().min(1).max(4096).describe('Kernel id, unique id prefix, or name'),
});
export const kernelPullParams = z.strictObject({
  ref: z.string().min(1).max(4096).optional().describe('Kernel name such as debian-bookworm. Absent: the default of this host'),
});

export const kernelView = z.object({
  id: z.string(),
  name: z.string(),
  version: z.string(),
  createdAt: z.string(),
  source: z.string(),
  /** Size of the kernel that boots. */
  sizeBytes: z.number(),
  /** VMs made with it. */
  inUseBy: z.number(),
});
export const kernelResult = z.object({ kernel: kernelView });
export const kernelListResult = z.object({ kernels: z.array(kernelView) });
export const kernelDeleted = z.object({ id: z.string(), name: z.string() });
