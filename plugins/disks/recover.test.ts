// Disks that are gone, cut off, overwritten or made hostile, looked at with the real tools.
import { spawnSync } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { mkdir, mkdtemp, open, readFile, readdir, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createExec } from '../../core/exec.ts';
import { notFound } from '../../core/plugin-api.ts';
import type { Exec, ExecOptions, HostInfo, Image, Images, Logger, RecoveryContext, RecoveryFinding, StartContext, Vm, VmRecovery } from '../../core/plugin-api.ts';
import { rootStep, workStep } from './disks.ts';
import type { DisksParts } from './disks.ts';
import { createRecovery } from './recover.ts';

const MiB = 2 ** 20;
const log: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
const signal = new AbortController().signal;
const isRoot = process.getuid?.() === 0;
const owner = isRoot ? 2_000_000_009 : undefined;

let dir: string;
let vm: Vm;
let recovery: VmRecovery;
let ran: string[][];
let made: string[];
/** Gone: asking for the image fails. */
let imageIsGone: boolean;
const ctx = (): RecoveryContext => ({ made, signal, log });
const rootFile = (): string => join(vm.dir, 'root.qcow2');
const workFile = (): string => join(vm.dir, 'work.img');
const check = async (): Promise<readonly RecoveryFinding[]> => recovery.check(vm, ctx());
const repair = async (...reset: string[]): Promise<readonly RecoveryFinding[]> => recovery.repair(vm, { reset }, ctx());
const states = (findings: readonly RecoveryFinding[]): string[] => findings.map(({ state }) => state);

async function put(path: string, at: number, bytes: Buffer): Promise<void> {
  const file = await open(path, 'r+');
  await file.write(bytes, 0, bytes.length, at);
  await file.close();
}

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'banger-recover-'));
  const backing = join(dir, 'rootfs.ext4');
  await writeFile(backing, 'what the image says', { mode: 0o644 });
  await truncate(backing, 64 * MiB);
  vm = { id: 'v', name: 'devbox', dir: join(dir, 'vm'), mark: '00000000/v', spec: { image: 'i', sections: { disks: { rootSize: '64M', workSize: '64M' } } } } as unknown as Vm;
  await mkdir(vm.dir);
  // As a start leaves them: the VM's uid passes through.
  for (const path of [dir, vm.dir]) chmodSync(path, 0o711);
  const real = createExec();
  ran = [];
  imageIsGone = false;
  const exec: Exec = { ...real, run: (program: string, args: readonly string[], options?: ExecOptions) => { ran.push([program, ...args]); return real.run(program, args, options); } };
  const image = { id: 'i', rootfsPath: backing, sizeBytes: 64 * MiB } as Image;
  const parts: DisksParts = {
    exec, host: { vmUid: () => owner } as unknown as HostInfo, images: { get: () => imageIsGone ? Promise.reject(notFound('image', 'i')) : Promise.resolve(image), ensure: () => Promise.resolve(image) } satisfies Images,
  };
  recovery = createRecovery(parts);
  const start = { vm, signal, log, touched: () => Promise.resolve(), waitingFor: () => undefined } as unknown as StartContext;
  for (const step of [rootStep(parts), workStep(parts)]) await step.run(start, (await step.plan({ vm, log }))!.data as never);
  made = ['disks.root', 'disks.work'];
  ran = [];
});
afterEach(() => rm(dir, { recursive: true }));

test('whole disks are fine, and looked at without touching them', async () => {
  const before = await Promise.all([rootFile(), workFile()].map((path) => stat(path)));
  expect(states(await check())).toEqual(['ok', 'ok']);
  const after = await Promise.all([rootFile(), workFile()].map((path) => stat(path)));
  expect(after.map(({ mtimeMs }) => mtimeMs)).toEqual(before.map(({ mtimeMs }) => mtimeMs));
});

test('what a VMM wrote is read with the rights of its uid alone and within limits; what the guest wrote by no program of the host', async () => {
  await check();
  expect(ran).toHaveLength(1);
  const [words = []] = ran;
  expect(words.slice(0, 6)).toEqual(['prlimit', `--as=${2 ** 31}`, '--cpu=300', '--core=0', 'setpriv', '--no-new-privs']);
  expect(words).toEqual(expect.arrayContaining(isRoot ? [`--reuid=${owner}`, `--regid=${owner}`, '--clear-groups', '--bounding-set=-all'] : []));
  expect(words.slice(-6)).toEqual(['qemu-img', 'check', '--output=json', '-f', 'qcow2', rootFile()]);
});

test('disks that no start has made are no loss', async () => {
  made = [];
  await rm(rootFile());
  await rm(workFile());
  for (const findings of [await check(), await repair('root', 'work')]) {
    expect(findings.map(({ text }) => text)).toEqual(['not made yet: the first start does', 'not made yet: the first start does']);
  }
  expect(await readdir(vm.dir)).toEqual([]);
});

describe('a root disk', () => {
  const cases: [string, () => Promise<void>, RegExp][] = [
    ['that is gone', () => rm(rootFile()), /^root\.qcow2 is gone: what the guest changed outside of \/root is lost$/],
    ['that is empty', () => truncate(rootFile(), 0), /ends after 0 bytes/],
    ['that is something else', () => put(rootFile(), 0, Buffer.from('not a disk')), /no qcow2 file/],
    ['that QEMU marked', () => put(rootFile(), 72, Buffer.from([0, 0, 0, 0, 0, 0, 0, 2])), /marked it as corrupt/],
    ['whose tables are overwritten', () => put(rootFile(), 3 * 65_536, Buffer.alloc(65_536, 0xff)), /errors in its tables/],
  ];
  test.each(cases)('%s is broken until it is asked to be made anew, and the work disk stays', async (_name, damage, words) => {
    await damage();
    const work = await readFile(workFile());
    for (const findings of [await check(), await repair()]) {
      expect(findings[0]).toMatchObject({ subject: 'root disk', state: 'broken', text: expect.stringMatching(words), hint: expect.stringContaining('banger vm recover devbox --reset-root') });
    }
    expect(states(await repair('root'))).toEqual(['repaired', 'ok']);
    expect(states(await check())).toEqual(['ok', 'ok']);
    expect(spawnSync('qemu-img', ['check', '-q', '-f', 'qcow2', rootFile()]).status).toBe(0);
    expect((await stat(rootFile())).mode & 0o777).toBe(0o600);
    expect((await stat(rootFile())).uid).toBe(owner ?? process.getuid?.());
    expect((await readFile(workFile())).equals(work)).toBe(true);
    expect((await readdir(vm.dir)).toSorted()).toEqual(['root.qcow2', 'work.img']);
  });

  test.each<[string, () => Promise<unknown>]>([
    ['another file as its image', () => put(rootFile(), 104 + 24, Buffer.from('/etc/shadow'))],
    ['a protocol as its image', () => put(rootFile(), 104 + 24, Buffer.from('nbd://host/'))],
    ['an external data file', () => put(rootFile(), 72, Buffer.from([0, 0, 0, 0, 0, 0, 0, 4]))],
    ['a format of its image', () => put(rootFile(), 112, Buffer.from('qco'))],
    ['a second format of its image', async () => {
      // In place of the end of extensions, and over the name, which follows.
      const name = Buffer.from(join(dir, 'rootfs.ext4'));
      await put(rootFile(), 104 + 16, Buffer.concat([Buffer.from('e2792aca00000005', 'hex'), Buffer.from('qcow2\0\0\0'), Buffer.alloc(8), name]));
      await put(rootFile(), 8, Buffer.from([0, 0, 0, 0, 0, 0, 0, 104 + 40]));
    }],
    ['a name beyond its end', () => put(rootFile(), 8, Buffer.from([0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]))],
  ])('in which a VMM wrote %s is opened by nobody', async (_name, damage) => {
    await damage();
    expect((await check())[0]).toMatchObject({ state: 'broken', text: expect.stringMatching(/^root\.qcow2 is damaged: it (names|has|does not)/) });
    expect(ran).toEqual([]);
  });

  test('that was cut off says so', async () => {
    spawnSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 0x5a 1M 8M', rootFile()]);
    if (owner !== undefined) spawnSync('chown', [`${owner}:${owner}`, rootFile()]);
    await truncate(rootFile(), 6 * 65_536);
    expect((await check())[0]).toMatchObject({ state: 'broken', text: expect.stringMatching(/^root\.qcow2 is damaged: \d+ errors in its tables/) });
  });

  test('that only holds space for nothing gives it back, and nothing is lost', async () => {
    // A cluster counted as used that no table names.
    await truncate(rootFile(), 6 * 65_536);
    await put(rootFile(), 2 * 65_536 + 2 * 5, Buffer.from([0, 1]));
    expect((await check())[0]).toMatchObject({ state: 'damaged' });
    expect((await repair())[0]).toMatchObject({ state: 'repaired' });
    expect(states(await check())).toEqual(['ok', 'ok']);
  });

  test('that cannot be read by the VM\'s uid is not called whole', async ({ skip }) => {
    skip(!isRoot, 'needs root');
    chmodSync(dir, 0o700);
    expect((await check())[0]).toMatchObject({ state: 'unknown', text: expect.stringContaining('could not be checked') });
  });
});

test('an image that is gone keeps nobody from looking at the work disk, and from making it anew', async () => {
  imageIsGone = true;
  await truncate(workFile(), 40 * MiB);
  expect(await check()).toMatchObject([{ subject: 'root disk', state: 'unknown', text: 'No image matches i' }, { subject: 'work disk', state: 'damaged' }]);
  expect(states(await repair())).toEqual(['unknown', 'repaired']);
  expect(await repair('root', 'work')).toMatchObject([{ subject: 'root disk', state: 'broken' }, { subject: 'work disk', state: 'repaired', text: expect.stringMatching(/^made anew/) }]);
});

test('what cannot be looked at is not called gone: nothing is known to be lost', async () => {
  for (const path of [rootFile(), workFile()]) {
    await rm(path);
    await symlink(path, path);
  }
  for (const findings of [await check(), await repair()]) expect(states(findings)).toEqual(['unknown', 'unknown']);
});

describe('a work disk', () => {
  test('that is gone is a loss, and made anew when asked', async () => {
    await rm(workFile());
    expect((await check())[1]).toMatchObject({ state: 'broken', text: 'work.img is gone: everything below /root is lost', hint: expect.stringContaining('--reset-work') });
    expect((await repair('work'))[1]).toMatchObject({ state: 'repaired' });
    expect(spawnSync('e2fsck', ['-f', '-n', workFile()]).status).toBe(0);
    expect(states(await check())).toEqual(['ok', 'ok']);
  });

  test('that was cut off gets its length back, and what was lost is said', async () => {
    await truncate(workFile(), 40 * MiB);
    expect((await check())[1]).toMatchObject({ state: 'damaged', text: `work.img is ${24 * MiB} bytes short: files below /root that lay there are lost` });
    expect((await repair())[1]).toMatchObject({ state: 'repaired', hint: expect.stringContaining('e2fsck') });
    expect((await stat(workFile())).size).toBe(64 * MiB);
    expect(states(await check())).toEqual(['ok', 'ok']);
  });

  test('without a file system is said to be damaged: the VM starts without it', async () => {
    await put(workFile(), 1024, Buffer.alloc(1024));
    for (const findings of [await check(), await repair()]) expect(findings[1]).toMatchObject({ state: 'damaged', text: expect.stringContaining('start without /root') });
    await truncate(workFile(), 100);
    expect((await repair())[1]).toMatchObject({ state: 'damaged' });
  });
});
