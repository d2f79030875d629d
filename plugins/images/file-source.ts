// Images from a local file: a raw ext4 file system, or a tar archive of a root file system.
import { stat } from 'node:fs/promises';
import { basename, isAbsolute, join } from 'node:path';
import { badRequest } from '../../core/plugin-api.ts';
import type { ImageSource } from './capability.ts';
import { copyExt4, isExt4 } from './ext4.ts';
import type { ImageTools } from './tools.ts';

/** Knows absolute paths. The same path with the same size and time is the same image. */
export function createFileSource(tools: ImageTools): ImageSource {
  return {
    async knows(ref) {
      if (!isAbsolute(ref)) return undefined;
      const file = await stat(ref, { bigint: true }).catch(() => undefined);
      if (!file?.isFile()) throw badRequest([{ path: 'ref', message: `${ref} is not a file the daemon can read` }]);
      return { name: imageNameOf(ref), origin: `file:${ref}#${file.size}-${file.mtimeNs}` };
    },
    async build(ref, staging, ctx) {
      const built = { config: { env: {} }, source: `file ${ref}` };
      if (!await isExt4(ref)) return { ...built, rootfs: { kind: 'tar', path: ref } };
      const path = join(staging, 'copy.ext4');
      ctx.stage(`image ${imageNameOf(ref)}`, 'copying');
      await copyExt4(tools, ref, path, ctx);
      return { ...built, rootfs: { kind: 'ext4', path } };
    },
  };
}

/** `/x/My Rootfs.tar.xz` is called `my-rootfs`. */
export function imageNameOf(path: string): string {
  const stem = basename(path).toLowerCase().replace(/\.(tar(\.(gz|xz|zst|bz2|lz4))?|tgz|ext4|img|raw)$/, '');
  return stem.replace(/[^a-z0-9._-]+/g, '-').replace(/^[^a-z0-9]+|[^a-z0-9]+$/g, '').slice(0, 63) || 'image';
}
