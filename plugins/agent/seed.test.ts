import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { GuestPatch, StartContext, UndoContext, Vm } from '../../core/plugin-api.ts';
import { encodeField, renderConfig } from './guest-config.ts';
import { seedStep } from './seed.ts';
import { quietLog } from './test-agent.ts';

let dir: string;
beforeEach(async () => { dir = await mkdtemp(join(tmpdir(), 'banger-seed-')); });
afterEach(() => rm(dir, { recursive: true, force: true }));

const guest: GuestPatch = {
  hostname: 'devbox', init: 'auto', env: { GREETING: 'hällo wörld\n100%' },
  mounts: [{ drive: 'work', target: '/root', fstype: 'ext4', seedFromImage: true }, { drive: 'data', target: '/srv/my data', fstype: 'ext4', seedFromImage: false }],
  network: { mac: '52:54:00:12:34:56', address: '10.0.3.15/24', gateway: '10.0.3.2', nameservers: ['10.0.3.3'], mtu: 1500 },
  hosts: [{ address: '127.111.0.1', name: 'host.internal' }],
  files: [{ path: '/run/hello/world', mode: 0o640, content: 'text\n' }],
};
const vm: Vm = {
  id: 'a'.repeat(12), name: 'devbox', slot: 1, mark: 'x/y', dir: '', createdAt: '2026-01-01T00:00:00Z',
  spec: { image: 'i', imageName: 'i', kernel: 'k1', driver: 'qemu', vcpu: 1, memoryMiB: 512, init: 'auto', env: {}, sections: {} },
};

it('writes the configuration as the agent reads it', () => {
  expect(renderConfig(guest, Buffer.alloc(16, 0xab))).toBe([
    `token ${'ab'.repeat(16)}`, 'hostname devbox', 'init auto', 'env GREETING=h%C3%A4llo%20w%C3%B6rld%0A100%25',
    'mount work /root ext4 seed', 'mount data /srv/my%20data ext4 plain',
    'net 52:54:00:12:34:56 10.0.3.15 24 10.0.3.2 1500', 'nameserver 10.0.3.3', 'host 127.111.0.1 host.internal', 'file 640 /run/hello/world /banger/files/0', '',
  ].join('\n'));
  expect(encodeField('a b%\u007F')).toBe('a%20b%25%7F');
});

it('refuses files outside /run, impossible variables and relative mounts, naming each', () => {
  const bad = { ...guest, files: [{ path: '/run/../etc/passwd', mode: 0o600, content: '' }, { path: '/etc/x', mode: 0o600, content: '' }], env: { 'A=B': 'c' }, mounts: [{ drive: 'w', target: 'root', fstype: 'ext4', seedFromImage: false }] };
  expect(() => renderConfig(bad, Buffer.alloc(16))).toThrow(/\/run\/\.\.\/etc\/passwd: .*\/etc\/x: .*env\.A=B: .*root: /);
});

it('appends the archive at a multiple of four and undoes itself, however far it came', async () => {
  const base = join(dir, 'base.img');
  const here = { ...vm, dir };
  await writeFile(base, 'x'.repeat(4097));
  const kernel = { id: 'k1', name: 'k', version: '6', kernelPath: '/k', initrdPath: base, cmdline: [], createdAt: '', source: '' };
  const step = seedStep({ kernels: { ensure: () => Promise.resolve(kernel), get: () => Promise.resolve(kernel) }, host: { vmUid: () => undefined } });
  const plan = await step.plan({ vm: here, log: quietLog });
  if (plan === undefined) throw new Error('there is always something to do');
  expect(plan.makes).toEqual([`file ${join(dir, 'initrd.img')}`, `file ${join(dir, 'agent-token')}`]);
  const undo = (): Promise<void> | undefined => step.undo?.({ vm: here, log: quietLog, reason: 'rollback', signal: AbortSignal.timeout(5000) } satisfies UndoContext, plan.data, undefined);
  // Before anything was made.
  await undo();
  const machine = { kernelPath: '/k', cmdline: [], initrdPath: '', vcpu: 1, memoryMiB: 512, drives: [], nics: [] };
  const ctx: StartContext = { vm: here, opId: 'op', signal: AbortSignal.timeout(5000), log: quietLog, machine, guest, waitingFor() {}, touched: () => Promise.resolve() };
  await step.run(ctx, plan.data);
  const image = await readFile(plan.data.initrd);
  expect(image.subarray(0, 4097).toString()).toBe('x'.repeat(4097));
  expect(image.subarray(4100, 4106).toString()).toBe('070701');
  const token = await readFile(plan.data.token);
  expect(token).toHaveLength(16);
  expect(image.toString('latin1')).toContain(`token ${token.toString('hex')}\nhostname devbox`);
  for (const path of [plan.data.initrd, plan.data.token]) expect((await stat(path)).mode & 0o777).toBe(0o600);
  await undo();
  await undo();
  expect(await stat(plan.data.initrd).catch((error: NodeJS.ErrnoException) => error.code)).toBe('ENOENT');
  expect(await stat(plan.data.token).catch((error: NodeJS.ErrnoException) => error.code)).toBe('ENOENT');
  expect(await readFile(base, 'utf8')).toHaveLength(4097);
});
