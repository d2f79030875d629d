import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, readdir, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { handOverAptOptions } from './apt-options.ts';
import { createProgressReader } from './progress.ts';
import { customizeHook } from './recipe.ts';
import { createDebianSource, hasSubIds, subIdsHint } from './source.ts';
import { createImageTools } from '../tools.ts';
import { createExec } from '../../../core/exec.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'banger-recipe-'));
});
afterEach(() => rm(root, { recursive: true }));

const put = async (path: string, content: string): Promise<void> => {
  await mkdir(join(root, path, '..'), { recursive: true });
  await writeFile(join(root, path), content);
};

test('the hook leaves no key, no host setting, no credential and no machine id', async () => {
  await put('etc/ssh/ssh_host_ed25519_key', 'secret');
  await put('etc/ssh/ssh_host_ed25519_key.pub', 'public');
  await put('etc/ssh/sshd_config', 'kept');
  await put('etc/apt/apt.conf.d/99mmdebstrap', 'Acquire::http::Proxy "http://proxy.test";');
  await put('etc/dpkg/dpkg.cfg.d/99mmdebstrap', 'path-exclude=/usr/share/doc/*\nforce-unsafe-io\n');
  await put('etc/apt/sources.list', 'deb [signed-by=/k.gpg] https://me:secret@mirror.test/debian bookworm main\n');
  await put('etc/resolv.conf', 'nameserver 192.0.2.1\n');
  await put('etc/hostname', 'builder\n');
  await put('etc/machine-id', '0123\n');
  await put('etc/fstab', '# x\n');
  await put('var/log/dpkg.log', 'x');
  await put('var/lib/dbus/machine-id', '0123\n');
  execFileSync('sh', ['-c', customizeHook, 'hook', root]);
  const read = (path: string): Promise<string> => readFile(join(root, path), 'utf8');
  expect(await readdir(join(root, 'etc/ssh'))).toEqual(['sshd_config']);
  expect(await readdir(join(root, 'etc/apt/apt.conf.d'))).toEqual([]);
  expect(await read('etc/dpkg/dpkg.cfg.d/99mmdebstrap')).toBe('path-exclude=/usr/share/doc/*\n');
  expect(await read('etc/apt/sources.list')).toBe('deb [signed-by=/k.gpg] https://mirror.test/debian bookworm main\n');
  expect(await Promise.all(['etc/resolv.conf', 'etc/machine-id', 'etc/fstab'].map(read))).toEqual(['', '', '']);
  expect(await read('etc/hostname')).toBe('debian\n');
  expect(await readdir(join(root, 'var/lib/dbus'))).toEqual([]);
  expect(await readlink(join(root, 'etc/systemd/system/apt-daily.timer'))).toBe('/dev/null');
  expect(await readlink(join(root, 'etc/systemd/system/sockets.target.wants/ssh.socket'))).toBe('/lib/systemd/system/ssh.socket');
  expect(await read('etc/systemd/system/ssh@.service.d/host-key.conf')).toContain('banger-host-key.service');
});

test('hands on proxies and validity checks, keeps passwords off the command line', () => {
  const dump = [
    'Acquire "";', 'Acquire::IndexTargets::deb::Packages::ShortDescription "Packages";', 'Acquire::Check-Valid-Until "false";',
    'Acquire::http::Proxy "http://proxy.test:3128";', 'Acquire::https::Proxy "http://me:secret@proxy.test:3128";',
    'Acquire::Changelogs::AlwaysOnline::Origin::Ubuntu "1";', 'Acquire::Languages:: "none";',
  ].join('\n');
  const { options, env } = handOverAptOptions(dump, { no_proxy: 'local.test', PATH: '/bin' });
  expect(options).toEqual(['Acquire::Check-Valid-Until "false";', 'Acquire::http::Proxy "http://proxy.test:3128";']);
  expect(env).toEqual({ no_proxy: 'local.test', https_proxy: 'http://me:secret@proxy.test:3128' });
});

test('reads progress over both rounds of packages', () => {
  const read = createProgressReader();
  const lines = ['I: running apt-get update...', 'Get:1 http://x', 'Get:2 http://x', '0 upgraded, 2 newly installed, 0 to remove', 'Get:1 a',
    'I: extracting archives...', 'Setting up a', 'Setting up b', '0 upgraded, 1 newly installed, 0 to remove', 'Setting up c', 'I: creating tarball...'];
  expect(lines.map(read).filter((text) => text !== undefined)).toEqual(['fetching package lists', 'downloading 2 packages', 'unpacking packages 0/2',
    'installing packages 1/2', 'installing packages 2/2', 'installing packages 3/3', 'writing the archive']);
});

test.each([
  ['me:100000:65536\n', true], ['1000:100000:70000', true], ['me:100000:1000', false], ['you:100000:65536', false], ['', false],
])('subordinate ids %j: %s', (table, expected) => {
  expect(hasSubIds(table, ['me', '1000'])).toBe(expected);
});

test('knows the releases the recipe is written for', async () => {
  const source = createDebianSource(createImageTools(createExec(), 0), { sources: [] }, {});
  expect(await source.knows('debian-bookworm')).toEqual({ name: 'debian-bookworm' });
  expect(await source.knows('debian-sarge')).toBeUndefined();
  expect(await source.knows('debian')).toBeUndefined();
});

test('the hint for rootless builds is one command, also for a uid without a name', () => {
  expect(subIdsHint(['me', '1000'])).toContain('usermod --add-subuids 100000-165535 --add-subgids 100000-165535 me');
  expect(subIdsHint(['64124'])).toContain('useradd --uid 64124');
});
