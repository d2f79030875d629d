// Makes a raw ext4 file of a root file system archive with mke2fs, no mount and no root needed.
import { chmod, copyFile, constants, mkdir, open, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { operationFailed } from '../../core/plugin-api.ts';
import type { ImageBuildContext } from './capability.ts';
import type { ImageTools } from './tools.ts';

const MiB = 1024 ** 2;
const GiB = 1024 ** 3;
const toolTimeoutMs = 10 * 60_000;

/**
 * Size of the file system for `contentBytes` of files: a tenth more for metadata, and 1 GiB of room, because growing from less
 * makes the kernel add group descriptors one by one at boot. Sparse: the room takes no disk.
 */
export function ext4Size(contentBytes: number): number {
  return Math.ceil((contentBytes * 1.1 + GiB) / (64 * MiB)) * 64 * MiB;
}

/**
 * Unpacks `tar` and writes `target` as ext4.
 *
 * Device nodes stay out (the guest mounts devtmpfs; an ordinary user cannot make them). 4 KiB blocks whatever the size, since
 * mke2fs takes 1 KiB for small ones and such a file system cannot grow online as far.
 */
export async function ext4FromTar(
  tools: ImageTools, paths: { readonly tar: string; readonly target: string; readonly staging: string }, ctx: ImageBuildContext): Promise<void> {
  const tree = join(paths.staging, 'tree');
  await mkdir(tree, { mode: 0o755 });
  await chmod(tree, 0o755);
  const options = { timeoutMs: toolTimeoutMs, signal: ctx.signal, mark: ctx.mark };
  await tools.runAsOwner('tar', ['--extract', '--file', paths.tar, '--directory', tree, '--numeric-owner', '--same-permissions', '--same-owner',
    '--xattrs', '--xattrs-include=*', '--anchored', '--exclude=./dev/*', '--exclude=dev/*'], options);
  const used = await tools.runAsOwner('du', ['--summarize', '--block-size=1', tree], options);
  await truncateNew(paths.target, ext4Size(Number.parseInt(used.stdout, 10)));
  await tools.runAsOwner('mke2fs', ['-F', '-q', '-t', 'ext4', '-b', '4096', '-I', '256', '-m', '0',
    '-E', 'root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1', '-d', tree, paths.target], options);
  await tools.removeOwnedTree(tree, paths.staging);
}

async function truncateNew(path: string, size: number): Promise<void> {
  await (await open(path, 'wx', 0o644)).close();
  await truncate(path, size);
}

/** Superblock magic of ext2, 3 and 4: 0xEF53 at byte 1080 (kernel: Documentation/filesystems/ext4/super.rst). */
export async function isExt4(path: string): Promise<boolean> {
  const handle = await open(path, 'r');
  try {
    const magic = Buffer.alloc(2);
    const { bytesRead } = await handle.read(magic, 0, 2, 1080);
    return bytesRead === 2 && magic.readUInt16LE(0) === 0xef53;
  } finally {
    await handle.close();
  }
}

/** Copies a raw ext4 file, sharing blocks where the file system can, and refuses one that is not clean. */
export async function copyExt4(tools: ImageTools, from: string, to: string, ctx: ImageBuildContext): Promise<void> {
  const options = { timeoutMs: toolTimeoutMs, signal: ctx.signal, mark: ctx.mark };
  try {
    await copyFile(from, to, constants.COPYFILE_FICLONE_FORCE);
  } catch {
    // No block sharing between or on these file systems: a copy that keeps holes.
    await tools.exec.run('cp', ['--sparse=always', '--', from, to], options);
  }
  await chmod(to, 0o644);
  await checkExt4(tools, to, ctx);
}

/** @throws operation_failed when e2fsck finds the file system unclean; changes nothing */
export async function checkExt4(tools: ImageTools, path: string, ctx: ImageBuildContext): Promise<void> {
  const result = await tools.exec.run('e2fsck', ['-f', '-n', path], {
    timeoutMs: toolTimeoutMs, signal: ctx.signal, mark: ctx.mark, okCodes: [0, 1, 2, 4, 8, 12],
  });
  if (result.exitCode === 0) return;
  throw operationFailed(`${path} has file system errors, or was copied while mounted`, {
    hint: 'run e2fsck -f on the file it came from', detail: { e2fsck: result.stdout.split('\n').slice(0, 10) },
  });
}

/** Bytes of a file, for `image list`. */
export async function fileSize(path: string): Promise<number> {
  return (await stat(path)).size;
}
