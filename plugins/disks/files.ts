// The `DiskFiles` capability.
import { open, stat } from 'node:fs/promises';
import type { Vm } from '../../core/plugin-api.ts';
import type { DiskFile, DiskFiles } from './capability.ts';
import { rootPath, workPath } from './disks.ts';
import { overlaySize } from './qcow2.ts';

export function createDiskFiles(): DiskFiles {
  return {
    async files(vm: Vm): Promise<readonly DiskFile[]> {
      const [root, work] = [rootPath(vm), workPath(vm)];
      const sizes = await Promise.all([readHeader(root), stat(work).then((file) => file.size, () => undefined)]);
      return [['root', root, sizes[0]] as const, ['work', work, sizes[1]] as const]
        .flatMap(([id, path, virtualBytes]) => (virtualBytes === undefined ? [] : [{ id, path, virtualBytes }]));
    },
  };
}

/** Virtual size, which `vm set` may have changed since the file was made. */
async function readHeader(path: string): Promise<number | undefined> {
  const file = await open(path, 'r').catch(() => undefined); // not made yet
  if (file === undefined) return undefined;
  try {
    const header = Buffer.alloc(32);
    const { bytesRead } = await file.read(header, 0, header.length, 0);
    return overlaySize(header.subarray(0, bytesRead));
  } catch {
    return undefined; // unreadable is damaged
  } finally {
    await file.close();
  }
}
