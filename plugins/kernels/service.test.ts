// The kernel service with a source of its own: no network, no package.
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createExec } from '../../core/exec.ts';
import type { EnsureContext, Vm } from '../../core/plugin-api.ts';
import { createArtifactStore } from '../images/capability.ts';
import type { KernelFetchContext } from './capability.ts';
import { createAgentReader } from './initrd.ts';
import { kernelManifest } from './schema.ts';
import { createKernelService, removeFetchFiles } from './service.ts';
import type { KernelFetchPlan, KernelService } from './service.ts';

let dir: string;
let kernels: KernelService;
let vms: Vm[];
let plans: KernelFetchPlan[];
let fetches: number;
let failing: boolean;
const ctx: EnsureContext = { opId: 'op-1', signal: new AbortController().signal, stage: () => undefined };

/** A bzImage whose payload is no PVH kernel: it boots as it is. */
function plainBzImage(): Buffer {
  const payload = gzipSync(Buffer.alloc(4096, 'kernel'));
  const head = Buffer.alloc(1024);
  head[0x1f1] = 1;
  head.write('HdrS', 0x202, 'latin1');
  head.writeUInt16LE(0x20f, 0x206);
  head.writeUInt32LE(payload.length, 0x24c);
  return Buffer.concat([head, payload]);
}

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'banger-kernels-'));
  [vms, plans, fetches, failing] = [[], [], 0, false];
  await writeFile(join(dir, 'agent'), 'agent one');
  const store = createArtifactStore({ what: 'kernel', root: join(dir, 'kernels'), parse: (value) => kernelManifest.parse(value) });
  const fetch = async (_ref: string, call: KernelFetchContext) => {
    fetches++;
    if (failing) throw new Error('no network');
    await mkdir(join(call.scratch, 'modules/kernel'), { recursive: true });
    await writeFile(join(call.scratch, 'vmlinuz'), plainBzImage());
    return { imagePath: join(call.scratch, 'vmlinuz'), modulesDir: join(call.scratch, 'modules'), version: '6.1.0-test', source: 'test' };
  };
  kernels = createKernelService({
    store, exec: createExec(), installId: '00000000', agent: createAgentReader(join(dir, 'agent')),
    sources: () => [{ knows: (ref) => Promise.resolve(ref === 'test' ? { name: 'test' } : undefined), fetch }],
    vms: { list: () => vms },
    runJob: async (plan, call, fn) => {
      plans.push(plan);
      try {
        return await fn({ mark: '00000000/job-1/kernels.fetch', signal: call.signal });
      } catch (error) {
        await removeFetchFiles(store.root, plan);
        throw error;
      }
    },
  });
});
afterEach(() => rm(dir, { recursive: true }));

const nothingLeft = async (): Promise<void> => {
  expect((await readdir(join(dir, 'kernels'))).filter((name) => name.startsWith('.'))).toEqual([]);
  for (const plan of plans) expect([existsSync(plan.staging), existsSync(plan.scratch)]).toEqual([false, false]);
};

test('gets a kernel once for callers at the same time, readable for other uids', async () => {
  const [first, second] = await Promise.all([kernels.ensure('test', ctx), kernels.ensure('test', ctx)]);
  expect(second).toEqual(first);
  expect(fetches).toBe(1);
  expect(first).toMatchObject({ name: 'test', version: '6.1.0-test', source: 'test' });
  expect(first.kernelPath).toMatch(/\/vmlinuz$/);
  for (const path of [first.kernelPath, first.initrdPath]) expect((await stat(path)).mode & 0o777).toBe(0o644);
  await nothingLeft();
});

test('a new agent gives a new initrd and leaves the old one as it is', async () => {
  const before = await kernels.ensure('test', ctx);
  const bytes = await readFile(before.initrdPath);
  await writeFile(join(dir, 'agent'), 'agent two, another size');
  const after = await kernels.get(before.id);
  expect(after.id).toBe(before.id);
  expect(after.initrdPath).not.toBe(before.initrdPath);
  expect((await readFile(after.initrdPath)).includes('agent two')).toBe(true);
  expect((await readFile(before.initrdPath)).equals(bytes)).toBe(true);
  expect(fetches).toBe(1);
});

test('a failed fetch leaves nothing, and the next one works', async () => {
  failing = true;
  await expect(kernels.ensure('test', ctx)).rejects.toThrow('no network');
  await nothingLeft();
  failing = false;
  expect((await kernels.ensure('test', ctx)).name).toBe('test');
});

test('refuses to delete a kernel that a VM uses', async () => {
  const kernel = await kernels.ensure('test', ctx);
  vms = [{ name: 'devbox', spec: { kernel: kernel.id } } as Vm];
  expect(await kernels.show('test')).toMatchObject({ inUseBy: 1, sizeBytes: plainBzImage().length });
  await expect(kernels.delete('test')).rejects.toMatchObject({ code: 'busy' });
  vms = [];
  expect(await kernels.delete(kernel.id.slice(0, 8))).toEqual({ id: kernel.id, name: 'test' });
  expect(await kernels.list()).toEqual([]);
});

test('says what is missing', async () => {
  await expect(kernels.ensure('other', ctx)).rejects.toMatchObject({ code: 'not_found' });
  await expect(kernels.get('0'.repeat(64))).rejects.toMatchObject({ code: 'not_found' });
  await rm(join(dir, 'agent'));
  await expect(kernels.ensure('test', ctx)).rejects.toMatchObject({ code: 'missing_requirement' });
});
