// No root by default: a whole run as an ordinary user; and when the daemon is root, the VMM is not.
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { assetsDir } from '../support/guest-assets.ts';
import { makeHost } from '../support/host.ts';
import { markedProcesses } from '../support/processes.ts';
import { repoRoot } from '../support/source-tree.ts';

const isRoot = process.getuid?.() === 0;
const statusField = (pid: number, field: string): string => new RegExp(`^${field}:[ \\t]*(.*)$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '';

test('as root the VMM runs as an unprivileged uid without capabilities', async (ctx) => {
  if (!isRoot) ctx.skip('the test user is not root, so no daemon here is');
  const host = await makeHost();
  try {
    await host.ok(['vm', 'run', '--name', 'jailed', '-d']);
    const { pid } = (await host.vm('jailed')).process!;
    const uids = statusField(pid, 'Uid').split(/\s+/).map(Number);
    expect(uids.every((uid) => uid > 1000)).toBe(true);
    expect(new Set(uids).size).toBe(1);
    expect(statusField(pid, 'Groups').trim()).toBe('');
    expect(Number.parseInt(statusField(pid, 'CapEff'), 16)).toBe(0);
    expect(statusField(pid, 'NoNewPrivs')).toBe('1');
    expect(statusField(pid, 'Seccomp')).toBe('2');
  } finally {
    await host.dispose();
  }
});

test('a whole vm run --rm as an ordinary user with a home of its own', async (ctx) => {
  if (!isRoot) ctx.skip('needs root to become another user; the other tests already run as an ordinary one');
  const uid = 64_123;
  const home = mkdtempSync(join(tmpdir(), 'banger-user-'));
  const tun = join(home, 'tun');
  try {
    chmodSync(home, 0o700);
    // The package where the user can read it, whatever the modes above the checkout are.
    for (const name of ['bin', 'dist', 'package.json']) cpSync(join(repoRoot, name), join(home, 'banger', name), { recursive: true });
    cpSync(join(repoRoot, 'node_modules'), join(home, 'banger', 'node_modules'), { recursive: true, verbatimSymlinks: true });
    const state = join(home, '.local', 'state', 'banger');
    mkdirSync(state, { recursive: true });
    for (const store of ['images', 'kernels']) cpSync(join(assetsDir(), store), join(state, store), { recursive: true });
    spawnSync('chown', ['-R', `${uid}:${uid}`, home]);
    spawnSync('mknod', [tun, 'c', '10', '200']);
    chmodSync(tun, 0o666);
    chownSync(tun, 0, 0);
    // /dev/net/tun is 0666 on a stock Debian; a private mount gives this user that, whatever this host has.
    const script = 'mount --bind "$1" /dev/net/tun && shift && exec "$@"';
    const result = spawnSync('unshare', ['--mount', 'sh', '-c', script, 'sh', tun, 'setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups',
      join(home, 'banger', 'bin', 'banger'), 'vm', 'run', '--rm', '--init', 'agent', '--memory', '512', '--', 'sh', '-c', 'id -u; ip route'],
    { env: { PATH: process.env['PATH'], HOME: home, LANG: 'C.UTF-8' }, encoding: 'utf8', timeout: 180_000, cwd: home });
    expect(result.stderr).not.toMatch(/banger: /);
    expect(result.status).toBe(0);
    expect(result.stdout).toMatch(/^0\ndefault via /);
    const stop = spawnSync('setpriv', [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', join(home, 'banger', 'bin', 'banger'), 'daemon', 'stop'],
      { env: { PATH: process.env['PATH'], HOME: home }, encoding: 'utf8', timeout: 60_000, cwd: home });
    expect(stop.status, stop.stderr).toBe(0);
    const mine = markedProcesses('').filter((p) => { try { return statusField(p.pid, 'Uid').startsWith(`${uid}\t`); } catch { return false; } });
    expect(mine).toEqual([]);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
});
