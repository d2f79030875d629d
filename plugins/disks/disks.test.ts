// The disks made with the real tools and read back with them.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, open, readFile, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createExec } from '../../core/exec.ts';
import type { Change, HostInfo, Image, Images, Logger, StartContext, UndoContext, Vm } from '../../core/plugin-api.ts';
import { growDisks, requireFreeSpace, rootStep, workStep } from './disks.ts';
import type { DisksParts } from './disks.ts';
import { createOverlay } from './qcow2.ts';

const MiB = 2 ** 20;
let dir: string;
let vm: Vm;
let parts: DisksParts;
let owner: number | undefined;
const signal = new AbortController().signal;
const log = {} as Logger;
const undo = (): UndoContext => ({ vm, signal, log, reason: 'delete' });
const start = (): StartContext => ({ vm, signal, log, touched: () => Promise.resolve(), waitingFor: () => undefined }) as unknown as StartContext;
const qemuImg = (...args: string[]): Record<string, unknown> => JSON.parse(execFileSync('qemu-img', args, { encoding: 'utf8' })) as Record<string, unknown>;
const info = (path: string) => qemuImg('info', '--output=json', '-f', 'qcow2', path);

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'banger-disks-'));
  const backing = join(dir, 'rootfs.ext4');
  await writeFile(backing, 'what the image says');
  await truncate(backing, 100 * MiB);
  const vmDir = join(dir, 'vm');
  await mkdir(vmDir);
  owner = undefined;
  const image = { id: 'i', rootfsPath: backing, sizeBytes: 100 * MiB } as Image;
  parts = {
    exec: createExec(), host: { vmUid: () => owner } as unknown as HostInfo,
    images: { get: () => Promise.resolve(image), ensure: () => Promise.resolve(image) } satisfies Images,
  };
  vm = { id: 'v', name: 'devbox', dir: vmDir, mark: '00000000/v', spec: { image: 'i', sections: { disks: { rootSize: '64M', workSize: '64M' } } } } as unknown as Vm;
});
afterEach(() => rm(dir, { recursive: true }));

describe('the overlay', () => {
  test.each([[64 * MiB, '64 MiB'], [8192 * MiB, '8 GiB'], [600 * MiB + 512, 'an odd size'], [5 * 2 ** 40, '5 TiB: more than one cluster of tables']])(
    'of %d bytes (%s) is what qemu-img accepts', async (sizeBytes) => {
      const path = join(dir, 'o.qcow2');
      await createOverlay(path, { sizeBytes, backingPath: join(dir, 'rootfs.ext4') });
      expect(qemuImg('check', '--output=json', '-f', 'qcow2', path)).toMatchObject({ 'check-errors': 0 });
      expect(qemuImg('check', '--output=json', '-f', 'qcow2', path)).not.toHaveProperty('leaks');
      expect(info(path)).toMatchObject({
        'virtual-size': sizeBytes, 'cluster-size': 65536, 'backing-filename-format': 'raw', 'full-backing-filename': join(dir, 'rootfs.ext4'),
        'format-specific': { data: { compat: '1.1', 'refcount-bits': 16, corrupt: false } },
      });
    });

  test('shows the image, takes writes, and stays sound', async () => {
    const path = join(dir, 'o.qcow2');
    await createOverlay(path, { sizeBytes: 200 * MiB, backingPath: join(dir, 'rootfs.ext4') });
    const out = execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'read -v 0 512', '-c', 'write -P 0x5a 150M 1M', '-c', 'read -P 0x5a 150M 1M', '-c', 'read -P 0 120M 64k', path], { encoding: 'utf8' });
    // "what the", from the image below.
    expect(out).toContain('77 68 61 74 20 74 68 65');
    expect(out).not.toMatch(/verification failed/i);
    expect(spawnSync('qemu-img', ['check', '-q', '-f', 'qcow2', path]).status).toBe(0);
  });

  test('refuses paths and sizes the format cannot hold', async () => {
    await expect(createOverlay(join(dir, 'x'), { sizeBytes: MiB, backingPath: `/${'x'.repeat(1023)}` })).rejects.toThrow(RangeError);
    await expect(createOverlay(join(dir, 'x'), { sizeBytes: 1000, backingPath: '/x' })).rejects.toThrow(RangeError);
  });
});

describe('the steps', () => {
  test('plan without touching the host', async () => {
    const root = await rootStep(parts).plan({ vm, log });
    expect(root?.data).toEqual({ path: join(vm.dir, 'root.qcow2'), sizeBytes: 100 * MiB, backingPath: join(dir, 'rootfs.ext4') });
    expect(root?.makes).toEqual([`file ${join(vm.dir, 'root.qcow2')} (up to 100M)`]);
    expect((await workStep(parts).plan({ vm, log }))?.data.sizeBytes).toBe(64 * MiB);
    expect(await readdir(vm.dir)).toEqual([]);
  });

  test('make disks only their owner can read, of the right size, and sparse', async () => {
    const [root, work] = [rootStep(parts), workStep(parts)];
    const rootPlan = (await root.plan({ vm, log }))!.data;
    const workPlan = (await work.plan({ vm, log }))!.data;
    await root.run(start(), rootPlan);
    await work.run(start(), workPlan);
    expect((await readdir(vm.dir)).toSorted()).toEqual(['root.qcow2', 'work.img']);
    for (const path of [rootPlan.path, workPlan.path]) expect((await stat(path)).mode & 0o777).toBe(0o600);
    const file = await stat(workPlan.path);
    expect(file.size).toBe(64 * MiB);
    expect(file.blocks * 512).toBeLessThan(16 * MiB);
    expect(spawnSync('e2fsck', ['-f', '-n', workPlan.path]).status).toBe(0);
  });

  test('keep a disk that is there: it may hold the user\'s work', async () => {
    const work = workStep(parts);
    const plan = (await work.plan({ vm, log }))!.data;
    await writeFile(plan.path, 'precious');
    await work.run(start(), plan);
    expect(await readFile(plan.path, 'utf8')).toBe('precious');
  });

  test('give the disks to the uid the VMM runs as', async (ctx) => {
    if (process.getuid?.() !== 0) ctx.skip('only root can give files away');
    owner = 2_000_000_007;
    const root = rootStep(parts);
    const plan = (await root.plan({ vm, log }))!.data;
    await root.run(start(), plan);
    expect(await stat(plan.path)).toMatchObject({ uid: owner, gid: owner });
  });

  test('undo without a run, after half a run, and twice', async () => {
    for (const step of [rootStep(parts), workStep(parts)]) {
      const plan = (await step.plan({ vm, log }))!.data as never;
      await step.undo!(undo(), plan, undefined);
      await writeFile(`${(plan as { path: string }).path}.new`, 'half');
      await step.undo!(undo(), plan, undefined);
      await step.run(start(), plan);
      await step.undo!(undo(), plan, null);
      await step.undo!(undo(), plan, null);
    }
    expect(await readdir(vm.dir)).toEqual([]);
  });

  test('a run after half a run works', async () => {
    const work = workStep(parts);
    const plan = (await work.plan({ vm, log }))!.data;
    await writeFile(`${plan.path}.new`, 'half');
    await work.run(start(), plan);
    expect(spawnSync('e2fsck', ['-f', '-n', plan.path]).status).toBe(0);
    expect(await readdir(vm.dir)).toEqual(['work.img']);
  });
});

describe('growing', () => {
  const change = (after: { rootSize?: string; workSize?: string }, running = false): Change => {
    const before = vm.spec.sections['disks'] as { rootSize: string; workSize: string };
    return { running, before: vm.spec, after: { ...vm.spec, sections: { disks: { ...before, ...after } } } };
  };
  const make = async (): Promise<void> => {
    for (const step of [rootStep(parts), workStep(parts)]) await step.run(start(), (await step.plan({ vm, log }))!.data as never);
  };

  test('enlarges both disks and keeps what is in them', async () => {
    await make();
    const file = await open(join(vm.dir, 'work.img'), 'r+');
    await file.write('mark', 40 * MiB);
    await file.close();
    await growDisks(parts, vm, change({ rootSize: '3G', workSize: '1G' }), undo());
    expect(info(join(vm.dir, 'root.qcow2'))['virtual-size']).toBe(3 * 2 ** 30);
    expect(spawnSync('qemu-img', ['check', '-q', '-f', 'qcow2', join(vm.dir, 'root.qcow2')]).status).toBe(0);
    expect((await stat(join(vm.dir, 'work.img'))).size).toBe(2 ** 30);
    expect((await readFile(join(vm.dir, 'work.img'))).toString('latin1', 40 * MiB, 40 * MiB + 4)).toBe('mark');
  });

  test('does nothing for a root size below the image\'s, and nothing twice', async () => {
    await make();
    await growDisks(parts, vm, change({ rootSize: '80M' }), undo());
    expect(info(join(vm.dir, 'root.qcow2'))['virtual-size']).toBe(100 * MiB);
    await growDisks(parts, vm, change({ rootSize: '200M' }), undo());
    await growDisks(parts, vm, change({ rootSize: '200M' }), undo());
    expect(info(join(vm.dir, 'root.qcow2'))['virtual-size']).toBe(200 * MiB);
  });

  test('before the first start makes nothing: the start uses the new size', async () => {
    await growDisks(parts, vm, change({ rootSize: '1G', workSize: '1G' }), undo());
    expect(await readdir(vm.dir)).toEqual([]);
  });

  test('refuses to shrink, naming every size, and refuses while running', async () => {
    await make();
    vm = { ...vm, spec: { ...vm.spec, sections: { disks: { rootSize: '2G', workSize: '2G' } } } };
    await expect(growDisks(parts, vm, change({ rootSize: '1G', workSize: '1G' }), undo())).rejects.toMatchObject({
      code: 'bad_request', detail: { issues: [{ path: 'rootSize' }, { path: 'workSize' }] },
    });
    await expect(growDisks(parts, vm, change({ workSize: '3G' }, true), undo())).rejects.toMatchObject({ code: 'wrong_state' });
    await growDisks(parts, vm, change({}, true), undo());
  });
});

test('refuses a start when less than the limit is free, with both figures', async () => {
  await requireFreeSpace(dir, 1);
  await expect(requireFreeSpace(dir, 2 ** 40)).rejects.toMatchObject({ code: 'missing_requirement', message: expect.stringMatching(/has \d+ MiB free.*needs \d+ MiB/) });
  expect(existsSync(dir)).toBe(true);
});
