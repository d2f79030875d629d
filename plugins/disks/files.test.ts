import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Vm } from '../../core/plugin-api.ts';
import { rootPath, workPath } from './disks.ts';
import { createDiskFiles } from './files.ts';
import { createOverlay } from './qcow2.ts';

let vm: Vm;
beforeEach(() => { vm = { dir: mkdtempSync(join(tmpdir(), 'banger-disk-files-')) } as Vm; });
afterEach(() => { rmSync(vm.dir, { recursive: true }); });

test('names the disks with the sizes that the guest sees', async () => {
  await createOverlay(rootPath(vm), { sizeBytes: 8 * 2 ** 30, backingPath: '/image' });
  writeFileSync(workPath(vm), '');
  truncateSync(workPath(vm), 3 * 2 ** 30);
  expect(await createDiskFiles().files(vm)).toEqual([
    { id: 'root', path: rootPath(vm), virtualBytes: 8 * 2 ** 30 }, { id: 'work', path: workPath(vm), virtualBytes: 3 * 2 ** 30 },
  ]);
});

test('leaves out what is not there and what is no disk', async () => {
  expect(await createDiskFiles().files(vm)).toEqual([]);
  writeFileSync(rootPath(vm), 'QFI');
  expect(await createDiskFiles().files(vm)).toEqual([]);
  writeFileSync(rootPath(vm), 'no qcow2 at all, but long enough for its header');
  expect(await createDiskFiles().files(vm)).toEqual([]);
});
