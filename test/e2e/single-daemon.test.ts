// One daemon per user, started by whoever comes first, replaced by a newer build when idle.
import { execFile, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { makeHost, type Host } from '../support/host.ts';
import { isLive } from '../support/processes.ts';
import { repoRoot } from '../support/source-tree.ts';

let host: Host;
beforeEach(async () => {
  host = await makeHost();
});
afterEach(async () => {
  await host.dispose();
});

test('CLIs starting at the same moment end with one daemon', async () => {
  const results = await Promise.all(Array.from({ length: 4 }, () => host.banger(['daemon', 'status', '--json'])));
  expect(results.every((r) => r.code === 0 || /not running/.test(r.err))).toBe(true); // status starts none
  const lists = await Promise.all(Array.from({ length: 4 }, () => host.ok(['vm', 'list', '--json'])));
  expect(lists).toHaveLength(4);
  const pids = await Promise.all(Array.from({ length: 4 }, async () => (JSON.parse((await host.ok(['daemon', 'status', '--json'])).out) as { pid: number }).pid));
  expect(new Set(pids).size).toBe(1);
  const listeners = readFileSync('/proc/net/unix', 'utf8').split('\n').filter((line) => line.endsWith(host.socket) && line.includes(' 00010000 '));
  expect(listeners).toHaveLength(1);
});

test('a newer CLI restarts an idle older daemon and leaves its VMs alone', async () => {
  await host.ok(['vm', 'run', '--name', 'untouched', '-d']);
  const boot = (await host.ok(['vm', 'exec', 'untouched', '--', 'cat', '/proc/sys/kernel/random/boot_id'])).out;
  const oldPid = await host.daemonPid();
  // The newer build: the same package with another stamp.
  const newer = join(host.dir, 'newer');
  mkdirSync(newer);
  for (const name of ['bin', 'dist', 'package.json']) cpSync(join(repoRoot, name), join(newer, name), { recursive: true });
  symlinkSync(join(repoRoot, 'node_modules'), join(newer, 'node_modules'));
  const stampFile = join(newer, 'dist', 'build-stamp.json');
  const stamp = JSON.parse(readFileSync(stampFile, 'utf8')) as { build: string; builtAt: string };
  writeFileSync(stampFile, JSON.stringify({ ...stamp, build: 'f'.repeat(stamp.build.length), builtAt: '2099-01-01T00:00:00.000Z' }));
  const rebuilt = spawnSync('grep', ['-rlF', stamp.build, join(newer, 'dist')], { encoding: 'utf8' }).stdout.split('\n').filter(Boolean);
  for (const file of rebuilt) writeFileSync(file, readFileSync(file, 'utf8').replaceAll(stamp.build, 'f'.repeat(stamp.build.length)).replaceAll(stamp.builtAt, '2099-01-01T00:00:00.000Z'));
  // Not spawnSync: it would keep this process's own last connection open, and a daemon with other clients is left alone.
  const run = await promisify(execFile)(join(newer, 'bin', 'banger'), ['vm', 'exec', 'untouched', '--', 'cat', '/proc/sys/kernel/random/boot_id'], { env: host.env, timeout: 60_000 });
  expect(run.stderr).toBe('');
  expect(run.stdout).toBe(boot);
  const newPid = await host.daemonPid();
  expect(newPid).not.toBe(oldPid);
  expect(isLive(oldPid!)).toBe(false);
  expect((await host.vm('untouched')).state).toBe('running');
});

test('daemon stop returns when the process and its files are at rest', async () => {
  await host.ok(['daemon', 'start']);
  const pid = await host.daemonPid();
  await host.ok(['daemon', 'stop']);
  expect(isLive(pid!)).toBe(false);
});
