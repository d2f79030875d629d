// The supervisor's mode `vmm`, with real processes in place of a VMM.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { findShim } from '../../test/support/shim.ts';

const found = findShim();
const reason = 'reason' in found ? found.reason : '';
const shim = 'nativeDir' in found ? join(found.nativeDir, 'shim') : '';
const isRoot = process.getuid?.() === 0;
const limit = { timeout: 20_000 };

let dir: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'banger-vmm-'));
  chmodSync(dir, 0o711);
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
});
const file = (name: string): string => join(dir, name);
const read = (name: string): string => readFileSync(file(name), 'utf8');
const alive = (pid: number): boolean => existsSync(`/proc/${pid}/stat`) && !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));

interface Started { readonly child: ChildProcess; readonly line: string; readonly pid: number; readonly exit: Promise<number | null> }
async function start(command: readonly string[], extra: readonly string[] = [], netns = ['--netns', 'try']): Promise<Started> {
  const identity = isRoot ? ['--uid', '2000000123'] : [];
  const child = spawn(shim, [
    'vmm', '--mark', 'test/vm/step', ...netns, ...identity, '--log-dir', file('logs'), '--log-max', '16384',
    '--exit-file', file('exit'), '--pid-file', file('pid'), ...extra, '--', ...command,
  ], { stdio: ['ignore', 'pipe', 'ignore'] });
  children.push(child);
  const exit = new Promise<number | null>((resolve) => { child.on('exit', resolve); });
  const line = await new Promise<string>((resolve) => {
    let text = '';
    child.stdout?.on('data', (chunk) => { text += String(chunk); });
    // The supervisor lets go of the pipe after its one line, though it and the VMM live on.
    child.stdout?.on('end', () => resolve(text.trim()));
  });
  return { child, line, pid: Number(/^pid (\d+)$/.exec(line)?.[1] ?? 0), exit };
}
const sh = (script: string): string[] => ['/bin/sh', '-c', script];

describe('shim vmm', () => {
  beforeEach(({ skip }) => skip(reason !== '', reason));

  test('says the pid, keeps the output, records the exit and ends with the same status', async () => {
    const { pid, exit } = await start(sh('echo to-stdout; echo to-stderr >&2; exit 7'));
    expect(await exit).toBe(7);
    expect(read('pid')).toBe(`${pid}\n`);
    expect(read('logs/1.log')).toBe('to-stdout\nto-stderr\n');
    expect(JSON.parse(read('exit'))).toEqual({
      code: 7, at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/), reason: '', panic: false, said: 'to-stderr\n',
    });
  });

  test('records a signal death', async () => {
    const { exit } = await start(sh('kill -SEGV $$'));
    expect(await exit).toBe(128 + 11);
    expect(JSON.parse(read('exit'))).toMatchObject({ signal: 11 });
  });

  test('says why a program cannot be executed, with status 127 and no exit record', async () => {
    const { line, exit } = await start(['/nonexistent/vmm']);
    expect(line).toBe('error /nonexistent/vmm: No such file or directory');
    expect(await exit).toBe(127);
    expect(existsSync(file('exit'))).toBe(false);
  });

  test('keeps the newest output within two bounded files', async () => {
    const { exit } = await start(sh('i=0; while [ $i -lt 4000 ]; do echo "line $i of many that are written"; i=$((i+1)); done'));
    expect(await exit).toBe(0);
    expect(statSync(file('logs/1.log')).size).toBeLessThanOrEqual(8192);
    expect(statSync(file('logs/1.log.1')).size).toBe(8192);
    expect(read('logs/1.log.1') + read('logs/1.log')).toMatch(/line 3999 of many that are written\n$/);
  });

  test('each start of the VMM has a log of its own; the last ones are kept, and nothing else in the directory is touched', async () => {
    mkdirSync(file('logs'));
    for (const name of ['7.log', '8.log', '8.log.1', '9.log', '9.log.1', '010.log', '11.log.2', 'notes']) writeFileSync(file(`logs/${name}`), name);
    await (await start(sh('echo tenth'), ['--log-keep', '2'])).exit;
    expect(readdirSync(file('logs')).toSorted()).toEqual(['010.log', '10.log', '11.log.2', '9.log', '9.log.1', 'notes']);
    expect(read('logs/10.log')).toBe('tenth\n');
    expect(statSync(file('logs/10.log')).mode & 0o777).toBe(0o600);
  });

  test('the VMM dies with the supervisor', async () => {
    const { child, pid } = await start(['/bin/sleep', '300']);
    expect(alive(pid)).toBe(true);
    child.kill('SIGKILL');
    await expect.poll(() => alive(pid), limit).toBe(false);
  });

  test('TERM to the supervisor reaches the VMM, whose status is recorded', async () => {
    const { child, exit } = await start(sh('trap "exit 5" TERM; echo ready; while :; do sleep 0.02; done'));
    await expect.poll(() => read('logs/1.log'), limit).toBe('ready\n');
    child.kill('SIGTERM');
    expect(await exit).toBe(5);
  });

  test('hands on listening sockets that only their owner may open, and nothing else', async () => {
    const { pid } = await start(['/bin/sleep', '300'], ['--listen', file('a.sock'), '--listen', file('b.sock')]);
    expect(statSync(file('a.sock')).mode & 0o777).toBe(0o600);
    const fds = readdirSync(`/proc/${pid}/fd`);
    expect(fds.toSorted()).toEqual(['0', '1', '2', '3', '4']);
    await new Promise<void>((resolve, reject) => {
      const socket = connect({ path: file('b.sock') }, () => { socket.destroy(); resolve(); });
      socket.on('error', reject);
    });
  });

  test('the VMM has no capabilities, cannot gain any, and bears the mark', async () => {
    const { pid } = await start(['/bin/sleep', '300']);
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    for (const set of ['Inh', 'Prm', 'Eff', 'Amb']) expect(status).toMatch(new RegExp(`^Cap${set}:\\t0{16}$`, 'm'));
    expect(readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')).toContain('BANGER_MARK=test/vm/step');
  });

  test('as root the VMM is another user without groups, in a network namespace of its own', async ({ skip }) => {
    skip(!isRoot, 'needs root');
    const { pid } = await start(['/bin/sleep', '300']);
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    expect(status).toMatch(/^Uid:\t2000000123\t2000000123\t2000000123\t2000000123$/m);
    expect(status).toMatch(/^Gid:\t2000000123\t2000000123\t2000000123\t2000000123$/m);
    expect(status).toMatch(/^Groups:\s*$/m);
    expect(status).toMatch(/^CapBnd:\t0{16}$/m);
    expect(readlinkSync(`/proc/${pid}/ns/net`)).not.toBe(readlinkSync('/proc/self/ns/net'));
  });

  test('never runs a VMM in the network of the host, whoever has the pid of its namespace by now', async () => {
    writeFileSync(file('netns.pid'), `${process.pid}\n`);
    const { line, exit } = await start(['/bin/sleep', '300'], [], ['--netns-pid-file', file('netns.pid')]);
    expect(line).toMatch(/^error the network process is gone, or has no network namespace of its own/);
    expect(await exit).toBe(127);
  });

  test('refuses to run a VMM as root', async ({ skip }) => {
    skip(!isRoot, 'needs root');
    const child = spawn(shim, ['vmm', '--netns', 'new', '--log-dir', file('logs'), '--exit-file', file('exit'), '--pid-file', file('pid'), '--', '/bin/true']);
    const code = await new Promise((resolve) => child.on('exit', resolve));
    expect(code).toBe(64);
  });

  test.each([
    ['no command', ['vmm', '--netns', 'new', '--log-dir', 'l', '--exit-file', 'e', '--pid-file', 'p', '--']],
    ['an unknown option', ['vmm', '--what', 'x', '--', '/bin/true']],
    ['an option without value', ['vmm', '--log-dir']],
    ['a log limit that is no number', ['vmm', '--log-max', '-1', '--', '/bin/true']],
    ['events of another kind', ['vmm', '--events', 'dbus', '--', '/bin/true']],
    ['an unknown mode', ['fly']],
  ])('refuses %s with status 64', async (_name, args) => {
    const child = spawn(shim, args, { cwd: dir });
    expect(await new Promise((resolve) => child.on('exit', resolve))).toBe(64);
  });
});
