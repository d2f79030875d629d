// Shapes of the images plugin: configuration, manifest on disk, RPC.
import { z } from 'zod';

export const imagesConfig = z.strictObject({
  debian_sources: z.array(z.string().regex(/^deb\s/, 'must be a one-line apt entry that begins with "deb "')).default([])
    .describe('One-line apt entries the Debian image is made from. Empty: the host\'s own entries of the Debian archive.'),
});
export type ImagesConfig = z.output<typeof imagesConfig>;

const imageConfig = z.object({
  env: z.record(z.string(), z.string()),
  workdir: z.string().optional(),
  user: z.string().optional(),
  entrypoint: z.array(z.string()).optional(),
  cmd: z.array(z.string()).optional(),
});

/** `manifest.json` of an image. Unknown keys of a newer banger are kept out of the way, not refused. */
export const imageManifest = z.object({
  id: z.string(),
  name: z.string(),
  createdAt: z.string(),
  source: z.string(),
  sizeBytes: z.int().nonnegative(),
  config: imageConfig,
  origin: z.string().optional(),
});
export interface ImageManifest extends Omit<z.output<typeof imageManifest>, 'origin'> { readonly origin?: string }

export const imageRef = z.strictObject({
  ref: z.string().min(1).max(4096).describe('Image id, unique id prefix, or name'),
});
export const pullParams = z.strictObject({
  ref: z.string().min(1).max(4096).describe('Image name such as debian-bookworm, or the absolute path of a root file system (tar or raw ext4)'),
});

export const imageView = z.object({
  id: z.string(),
  name: z.string(),
  /** Apparent size of the root disk. */
  sizeBytes: z.number(),
  createdAt: z.string(),
  source: z.string(),
  /** VMs made from it. */
  inUseBy: z.number(),
  config: imageConfig,
});
export const imageResult = z.object({ image: imageView });
export const imageListResult = z.object({ images: z.array(imageView) });
export const imageDeleted = z.object({ id: z.string(), name: z.string() });
