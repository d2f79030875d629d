// No root by default: a whole run as an ordinary user; and when the daemon is root, the VMM is not.
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { VmPortsResult } from '../../core/api.ts';
import { assetsDir } from '../support/guest-assets.ts';
import { makeHost } from '../support/host.ts';
import { markedProcesses } from '../support/processes.ts';
import { repoRoot } from '../support/source-tree.ts';
import { waitFor } from '../support/wait.ts';

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

test('a whole vm run --rm as an ordinary user with a home of its own, and a port of a guest that this user may not listen on', async (ctx) => {
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
    const asUser = (...words: string[]): string => {
      const { status, stdout, stderr } = spawnSync('unshare', ['--mount', 'sh', '-c', script, 'sh', tun, 'setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups',
        join(home, 'banger', 'bin', 'banger'), ...words], { env: { PATH: process.env['PATH'], HOME: home, LANG: 'C.UTF-8' }, encoding: 'utf8', timeout: 180_000, cwd: home });
      expect([status, stderr], words.join(' ')).toEqual([0, expect.not.stringMatching(/banger: /)]);
      return stdout;
    };
    const small = ['--init', 'agent', '--memory', '512'];
    expect(asUser('vm', 'run', '--rm', ...small, '--', 'sh', '-c', 'id -u; ip route')).toMatch(/^0\ndefault via /);
    asUser('vm', 'run', '-d', '--name', 'web', ...small);
    asUser('vm', 'exec', '-d', 'web', '--', 'python3', '-m', 'http.server', '80');
    const { endpoint } = await waitFor('the endpoint', () =>
      (JSON.parse(asUser('vm', 'ports', 'web', '--json')) as VmPortsResult).vms[0]!.ports!.find((one) => one.port === 80 && one.endpoint !== undefined));
    expect(endpoint).toMatch(/:20080$/);
    expect((await fetch(`http://${endpoint!}/`, { signal: AbortSignal.timeout(10_000) })).status).toBe(200);
    asUser('vm', 'delete', 'web');
    asUser('daemon', 'stop');
    const mine = markedProcesses('').filter((p) => { try { return statusField(p.pid, 'Uid').startsWith(`${uid}\t`); } catch { return false; } });
    expect(mine).toEqual([]);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
});
