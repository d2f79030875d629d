// The image service over real tools: tar archives and ext4 files as any user would give them.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createExec } from '../../core/exec.ts';
import type { EnsureContext, Vm } from '../../core/plugin-api.ts';
import { createArtifactStore } from './artifact-store.ts';
import type { ImageSource } from './capability.ts';
import { createFileSource, imageNameOf } from './file-source.ts';
import { imageManifest } from './schema.ts';
import type { ImageManifest } from './schema.ts';
import { createImageService, removeBuildFiles } from './service.ts';
import type { ImageBuildPlan, ImageService } from './service.ts';
import { createImageTools } from './tools.ts';

let dir: string;
let images: ImageService;
let vms: Vm[];
let extra: ImageSource[];
let plans: ImageBuildPlan[];
const tools = createImageTools(createExec(), process.getuid?.() ?? 0);
const canMapIds = process.getuid?.() === 0 || spawnSync('unshare', ['--map-auto', '--map-root-user', 'true']).status === 0;
const noMapping = 'user namespaces with subordinate ids are not available to this user';

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'banger-images-'));
  vms = [];
  extra = [];
  plans = [];
  const store = createArtifactStore<ImageManifest>({ what: 'image', root: join(dir, 'images'), parse: (value) => imageManifest.parse(value) as ImageManifest });
  images = createImageService({
    store, tools, installId: '00000000', defaultRef: 'none', sources: () => [createFileSource(tools), ...extra],
    vms: { list: () => vms },
    runJob: async (plan, call, fn) => {
      plans.push(plan);
      try {
        return await fn({ mark: '00000000/job-1/images.build', signal: call.signal });
      } catch (error) {
        await removeBuildFiles({ store, tools }, plan);
        throw error;
      }
    },
  });
});
afterEach(() => rm(dir, { recursive: true }));

function context(signal = new AbortController().signal): EnsureContext & { stages: string[] } {
  const stages: string[] = [];
  return { opId: 'op-1', signal, stages, stage: (name, detail) => stages.push(`${name}: ${detail}`) };
}

async function makeTar(name: string): Promise<string> {
  const tree = join(dir, 'tree');
  await mkdir(join(tree, 'bin'), { recursive: true });
  await mkdir(join(tree, 'dev'));
  await mkdir(join(tree, 'usr/dev'), { recursive: true });
  await writeFile(join(tree, 'bin/tool'), 'x');
  await chmod(join(tree, 'bin/tool'), 0o4755);
  await writeFile(join(tree, 'dev/not-wanted'), '');
  await writeFile(join(tree, 'usr/dev/wanted'), '');
  const path = join(dir, name);
  execFileSync('tar', ['--create', '--file', path, '--auto-compress', '--owner=1234', '--group=0', '--directory', tree, '.']);
  return path;
}
const debugfs = (image: string, command: string): string => execFileSync('debugfs', ['-R', command, image], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
const nothingLeft = async (): Promise<void> => {
  expect((await readdir(join(dir, 'images'))).filter((name) => name.startsWith('.'))).toEqual([]);
  for (const plan of plans) expect([existsSync(plan.staging), existsSync(plan.scratch)]).toEqual([false, false]);
};

test('makes an ext4 image of a tar archive with owners and modes, without its device directory', async (ctx) => {
  if (!canMapIds) ctx.skip(noMapping);
  const image = await images.ensure(await makeTar('My Root.tar.gz'), context());
  expect(image).toMatchObject({ name: 'my-root', config: { env: {} } });
  expect(image.id).toMatch(/^[0-9a-f]{64}$/);
  expect(spawnSync('e2fsck', ['-f', '-n', image.rootfsPath]).status).toBe(0);
  expect(debugfs(image.rootfsPath, 'stat /bin/tool')).toMatch(/Mode:\s+04755[\s\S]*User:\s+1234\s+Group:\s+0/);
  expect(debugfs(image.rootfsPath, 'ls -p /dev')).not.toContain('not-wanted');
  expect(debugfs(image.rootfsPath, 'ls -p /usr/dev')).toContain('wanted');
  expect((await stat(image.rootfsPath)).mode & 0o777).toBe(0o644);
  await nothingLeft();
});

test('copies a raw ext4 file, and makes it once while it is unchanged', async () => {
  const path = join(dir, 'small.ext4');
  await writeFile(path, '');
  await truncate(path, 8 << 20);
  execFileSync('mke2fs', ['-F', '-q', '-t', 'ext4', path]);
  const [first, second] = await Promise.all([images.ensure(path, context()), images.ensure(path, context())]);
  expect(second.id).toBe(first.id);
  expect(plans).toHaveLength(1);
  expect((await readFile(first.rootfsPath)).equals(await readFile(path))).toBe(true);
  expect((await images.ensure('small', context())).id).toBe(first.id);
  expect((await images.get(first.id)).id).toBe(first.id);
  await nothingLeft();
});

test('refuses an unclean ext4 file and leaves nothing', async () => {
  const path = join(dir, 'bad.ext4');
  await writeFile(path, '');
  await truncate(path, 8 << 20);
  execFileSync('mke2fs', ['-F', '-q', '-t', 'ext4', path]);
  execFileSync('debugfs', ['-w', '-R', 'clri <2>', path], { stdio: 'ignore' });
  await expect(images.ensure(path, context())).rejects.toMatchObject({ code: 'operation_failed' });
  expect(await images.list()).toEqual([]);
  await nothingLeft();
});

test('builds once for callers at the same time, and again after a failure', async () => {
  let builds = 0;
  extra.push({
    knows: (ref) => Promise.resolve(ref === 'made' ? { name: 'made' } : undefined),
    async build(_ref, staging) {
      builds++;
      if (builds === 1) throw new Error('first try fails');
      const path = join(staging, 'x.ext4');
      await writeFile(path, 'content');
      return { rootfs: { kind: 'ext4', path }, config: { env: { A: 'b' } }, source: 'test' };
    },
  });
  const results = await Promise.allSettled([1, 2, 3].map(() => images.ensure('made', context())));
  expect(results.map((r) => r.status)).toEqual(['rejected', 'fulfilled', 'fulfilled']);
  expect(builds).toBe(2);
  await nothingLeft();
});

test('gives up waiting for another build when cancelled', async () => {
  let release = (): void => undefined;
  let begun = (): void => undefined;
  const started = new Promise<void>((resolve) => { begun = resolve; });
  extra.push({
    knows: () => Promise.resolve({ name: 'slow' }),
    async build(_ref, staging) {
      begun();
      await new Promise<void>((resolve) => { release = resolve; });
      const path = join(staging, 'x.ext4');
      await writeFile(path, 'content');
      return { rootfs: { kind: 'ext4', path }, config: { env: {} }, source: 'test' };
    },
  });
  const first = images.ensure('slow', context());
  await started;
  const cancel = new AbortController();
  const second = images.ensure('slow', context(cancel.signal));
  cancel.abort();
  await expect(second).rejects.toMatchObject({ code: 'cancelled' });
  release();
  expect((await first).name).toBe('slow');
});

test('refuses to delete an image that a VM uses, and names the VM', async () => {
  extra.push({
    knows: () => Promise.resolve({ name: 'used' }),
    async build(_ref, staging) {
      const path = join(staging, 'x.ext4');
      await writeFile(path, 'content');
      return { rootfs: { kind: 'ext4', path }, config: { env: {} }, source: 'test' };
    },
  });
  const image = await images.ensure('used', context());
  vms = [{ name: 'devbox', spec: { image: image.id } } as Vm];
  await expect(images.delete('used')).rejects.toMatchObject({ code: 'busy', message: expect.stringContaining('devbox') });
  expect(images.usedBy(image.id)).toBe(1);
  vms = [];
  expect(await images.delete('used')).toEqual({ id: image.id, name: 'used' });
  expect(await images.list()).toEqual([]);
  await expect(images.show('used')).rejects.toMatchObject({ code: 'not_found' });
});

test('says what is wrong with a reference', async () => {
  await expect(images.ensure('nothing', context())).rejects.toMatchObject({ code: 'not_found' });
  await expect(images.ensure(join(dir, 'missing.tar'), context())).rejects.toMatchObject({ code: 'bad_request' });
});

test.each([['/x/My Rootfs.tar.xz', 'my-rootfs'], ['/x/a.ext4', 'a'], ['/x/---.img', 'image'], ['/x/v1.2.tgz', 'v1.2']])('%s is called %s', (path, name) => {
  expect(imageNameOf(path)).toBe(name);
});
