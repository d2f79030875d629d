import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ensureDirs, ensureVmDirs, maxSocketPathBytes, nativeDir, packageRoot, packageVersion, removeTree, removeVmDirs, requireSafeSocketDir, resolvePaths } from './paths.ts';

let dir: string;
beforeEach(() => { dir = mkdtempSync(join(tmpdir(), 'banger-paths-')); });
afterEach(() => rmSync(dir, { recursive: true, force: true }));
const modeOf = (path: string): number => statSync(path).mode & 0o777;

describe('resolvePaths', () => {
  test('uses the system directories for root', () => {
    expect(resolvePaths({ HOME: '/root' }, 0)).toMatchObject({
      stateDir: '/var/lib/banger', cacheDir: '/var/cache/banger', configFile: '/etc/banger/config.toml',
      socket: '/var/lib/banger/bangerd.sock', database: '/var/lib/banger/banger.db', daemonLog: '/var/lib/banger/bangerd.log',
    });
  });

  test('uses the home of others', () => {
    expect(resolvePaths({ HOME: '/home/ann' }, 1000)).toMatchObject({
      stateDir: '/home/ann/.local/state/banger', cacheDir: '/home/ann/.cache/banger', configFile: '/home/ann/.config/banger/config.toml',
    });
  });

  test('lets absolute XDG variables win, for root too, and BANGER_CONFIG over them', () => {
    const env = { HOME: '/root', XDG_STATE_HOME: '/s', XDG_CACHE_HOME: 'relative', XDG_CONFIG_HOME: '/c' };
    expect(resolvePaths(env, 0)).toMatchObject({ stateDir: '/s/banger', cacheDir: '/var/cache/banger', configFile: '/c/banger/config.toml' });
    expect(resolvePaths({ ...env, BANGER_CONFIG: '/x/y.toml' }, 0).configFile).toBe('/x/y.toml');
  });

  test('names a VM and a plugin inside our directories only', () => {
    const paths = resolvePaths({ XDG_STATE_HOME: '/s', XDG_CACHE_HOME: '/c' }, 1000);
    expect(paths.socketPath('0123456789ab', 'qmp')).toBe('/s/banger/vms/0123456789ab/qmp.sock');
    expect(paths.pluginState('disks')).toBe('/s/banger/plugins/disks');
    expect(paths.pluginCache('disks')).toBe('/c/banger/plugins/disks');
    for (const bad of ['..', 'a/b', '', '.x', 'a\0b']) expect(() => paths.vmDir(bad)).toThrow(/Not a usable part/);
    expect(() => paths.socketPath('0123456789ab', 'a-name-too-long')).toThrow(/Not a usable part/);
  });

  test('moves all sockets to /tmp when the longest could not be bound', () => {
    // "<state>/banger/vms/" and 12 + 1 + 12 + 5 bytes.
    const fits = `/${'s'.repeat(maxSocketPathBytes - '/banger/vms/'.length - 30 - 1)}`;
    const longest = resolvePaths({ XDG_STATE_HOME: fits }, 7).socketPath('0123456789ab', 'x'.repeat(12));
    expect(Buffer.byteLength(longest)).toBe(maxSocketPathBytes);
    expect(longest.startsWith(fits)).toBe(true);

    const paths = resolvePaths({ XDG_STATE_HOME: `${fits}s` }, 7);
    expect(paths.shortSocketDir).toMatch(/^\/tmp\/banger-7-[0-9a-f]{8}$/);
    expect(paths.socket).toBe(`${paths.shortSocketDir}/bangerd.sock`);
    expect(paths.socketPath('0123456789ab', 'qmp')).toBe(`${paths.shortSocketDir}/0123456789ab/qmp.sock`);
    expect(resolvePaths({ XDG_STATE_HOME: `${fits}t` }, 7).shortSocketDir).not.toBe(paths.shortSocketDir);
  });
});

describe('directories', () => {
  const own = process.getuid?.() ?? 0;
  const base = own === 0 ? 0o711 : 0o700;

  test('have the right modes whatever the umask or an earlier mode was', () => {
    const paths = resolvePaths({ XDG_STATE_HOME: join(dir, 's'), XDG_CACHE_HOME: join(dir, 'c') }, own);
    mkdirSync(paths.stateDir, { recursive: true });
    chmodSync(paths.stateDir, 0o777);
    ensureDirs(paths);
    ensureVmDirs(paths, '0123456789ab');
    for (const made of [paths.stateDir, paths.vmsDir, paths.vmDir('0123456789ab')]) expect(modeOf(made)).toBe(base);
    expect(modeOf(paths.cacheDir)).toBe(0o700);
  });

  test('go away with their VM, in both places', async () => {
    const paths = resolvePaths({ XDG_STATE_HOME: join(dir, 's'.repeat(100)), XDG_CACHE_HOME: join(dir, 'c') }, own);
    const short = paths.shortSocketDir ?? '';
    try {
      ensureDirs(paths);
      ensureVmDirs(paths, '0123456789ab');
      ensureVmDirs(paths, '0123456789ab');
      expect(existsSync(paths.vmSocketDir('0123456789ab'))).toBe(true);
      await removeVmDirs(paths, '0123456789ab');
      await removeVmDirs(paths, '0123456789ab');
      expect(existsSync(paths.vmSocketDir('0123456789ab'))).toBe(false);
      expect(existsSync(paths.vmDir('0123456789ab'))).toBe(false);
    } finally {
      rmSync(short, { recursive: true, force: true });
    }
  });

  test('of sockets are refused when somebody else could have made them', () => {
    const paths = { ...resolvePaths({}, own), shortSocketDir: join(dir, 'short') };
    mkdirSync(paths.shortSocketDir, { mode: 0o700 });
    expect(() => requireSafeSocketDir(paths)).not.toThrow();
    expect(() => requireSafeSocketDir({ ...paths, uid: own + 1 })).toThrow(/not ours/);
    chmodSync(paths.shortSocketDir, 0o777);
    expect(() => requireSafeSocketDir(paths)).toThrow(/not ours/);
    symlinkSync(dir, join(dir, 'link'));
    expect(() => requireSafeSocketDir({ ...paths, shortSocketDir: join(dir, 'link') })).toThrow(/not ours/);
  });
});

describe('removeTree', () => {
  test('removes a tree and the links in it, not what they point to', async () => {
    mkdirSync(join(dir, 'in/tree/deep'), { recursive: true });
    writeFileSync(join(dir, 'kept'), 'x');
    symlinkSync(join(dir, 'kept'), join(dir, 'in/tree/deep/link'));
    await removeTree(join(dir, 'in/tree'), { within: join(dir, 'in') });
    await removeTree(join(dir, 'in/tree'), { within: join(dir, 'in') });
    expect(existsSync(join(dir, 'in/tree'))).toBe(false);
    expect(readFileSync(join(dir, 'kept'), 'utf8')).toBe('x');
  });

  test('refuses what is outside, the directory itself, and links', async () => {
    mkdirSync(join(dir, 'in'));
    mkdirSync(join(dir, 'out/tree'), { recursive: true });
    symlinkSync(join(dir, 'out'), join(dir, 'in/link'));
    const within = join(dir, 'in');
    for (const path of [join(dir, 'out'), join(dir, 'in/../out'), within, `${within}/..`, '/', `${within}-b`]) {
      await expect(removeTree(path, { within })).rejects.toThrow(/is not inside/);
    }
    await expect(removeTree(join(within, 'link'), { within })).rejects.toThrow(/symbolic link/);
    await expect(removeTree(join(within, 'link/tree'), { within })).rejects.toThrow(/symbolic link/);
    expect(existsSync(join(dir, 'out/tree'))).toBe(true);
  });

  test('refuses a tree with something mounted in it', async () => {
    // /proc is a mount point everywhere; nothing is deleted when the refusal works, and nothing could be when it does not.
    await expect(removeTree('/proc', { within: '/' })).rejects.toThrow(/\/proc.* is mounted in it/);
  });
});

test('finds the package above the source', () => {
  expect(existsSync(join(packageRoot(), 'package.json'))).toBe(true);
  expect(nativeDir()).toBe(join(packageRoot(), 'dist/native'));
  expect(packageVersion()).toMatch(/^\d+\.\d+\.\d+/);
});
