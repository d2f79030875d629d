import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { ProcessIdentity } from './model.ts';
import { createProcesses, parseStat } from './process.ts';
import { startLingering } from '../test/support/lingering.ts';

const processes = createProcesses();
const started: ChildProcess[] = [];
afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL');
});

function start(program: string, args: readonly string[], env: Record<string, string> = {}): ChildProcess {
  const child = spawn(program, [...args], { env: { PATH: '/usr/bin:/bin', ...env }, stdio: ['ignore', 'pipe', 'inherit'] });
  started.push(child);
  return child;
}
function identityOf(child: ChildProcess): ProcessIdentity {
  const identity = processes.identify(child.pid ?? 0);
  if (!identity) throw new Error('The child is not there');
  return identity;
}

test('counts the fields of stat from the last parenthesis', () => {
  const rest = 'S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 987654 20';
  expect(parseStat(`77 (a) Z (b) ${rest}`)).toEqual({ dead: false, startTime: '987654' });
  expect(parseStat(`77 (a b) ${rest.replace('S', 'Z')}`).dead).toBe(true);
  expect(parseStat(`77 (x) ${rest.replace('S', 'X')}`).dead).toBe(true);
});

test('knows itself, and nobody at a pid that is free', () => {
  const own = processes.identify(process.pid);
  expect(own).toMatchObject({ hostBootId: processes.hostBootId, pid: process.pid });
  expect(own && processes.isAlive(own)).toBe(true);
  expect(processes.identify(2 ** 22 + 1)).toBeUndefined();
});

test('does not take another start time or another boot for the same process', () => {
  const own = identityOf(start('sleep', ['600']));
  expect(processes.isAlive(own)).toBe(true);
  expect(processes.isAlive({ ...own, startTime: `${own.startTime}1` })).toBe(false);
  expect(processes.isAlive({ ...own, hostBootId: 'other' })).toBe(false);
});

test('counts a zombie as dead', async () => {
  // The shell's child ends, and exec replaced the parent that would have reaped it.
  const child = start('sh', ['-c', 'true & echo $!; exec sleep 600']);
  const [text] = await once(child.stdout!, 'data') as [Buffer];
  await vi.waitFor(() => expect(processes.identify(Number(text.toString()))).toBeUndefined(), { timeout: 10_000 });
});

test('counts a zombie as alive until its last thread is over: it holds its files', async () => {
  const child = await startLingering();
  started.push(child);
  const own = identityOf(child);
  expect(processes.isAlive(own)).toBe(true);
  child.stdin!.end();
  await vi.waitFor(() => expect(processes.isAlive(own)).toBe(false), { timeout: 10_000 });
});

describe('end', () => {
  test('lets a process end by itself after TERM', async () => {
    const child = start('sh', ['-c', 'trap "exit 9" TERM; echo up; while :; do sleep 0.02; done']);
    await once(child.stdout!, 'data');
    const exit = once(child, 'exit');
    await processes.end(identityOf(child), { graceMs: 20_000 });
    expect((await exit)[0]).toBe(9);
  });

  test('kills one that ignores TERM', async () => {
    const child = start('sh', ['-c', 'trap "" TERM; echo up; while :; do sleep 0.02; done']);
    await once(child.stdout!, 'data');
    const exit = once(child, 'exit');
    await processes.end(identityOf(child), { graceMs: 50 });
    expect((await exit)[1]).toBe('SIGKILL');
  });

  test('kills a stopped one', async () => {
    const child = start('sleep', ['600']);
    const identity = identityOf(child);
    child.kill('SIGSTOP');
    await processes.end(identity, { graceMs: 0 });
    expect(processes.isAlive(identity)).toBe(false);
  });

  test('does nothing to a reused pid, nor to one that is gone', async () => {
    const child = start('sleep', ['600']);
    const identity = identityOf(child);
    await processes.end({ ...identity, startTime: '1' }, { graceMs: 0 });
    expect(processes.isAlive(identity)).toBe(true);
    await processes.end(identity, { graceMs: 0 });
    await processes.end(identity, { graceMs: 10 });
  });
});

test('finds processes by mark, exactly or by prefix', async () => {
  const id = randomUUID();
  const first = start('sleep', ['600'], { BANGER_MARK: `${id}/vm1/step` });
  const second = start('sleep', ['601'], { X_BANGER_MARK: 'no', BANGER_MARK: `${id}/vm1/step2` });
  start('sleep', ['602'], { X_BANGER_MARK: `${id}/vm1/step` });
  // Between fork and exec a child still has our environment and command line.
  await vi.waitFor(() => {
    expect(processes.findByMark(`${id}/vm1/step`).map((f) => [f.process.pid, f.command])).toEqual([[first.pid, 'sleep 600']]);
    expect(processes.findByMark(`${id}/vm1/`, { prefix: true }).map((f) => f.mark).sort()).toEqual([`${id}/vm1/step`, `${id}/vm1/step2`]);
  }, { timeout: 10_000 });
  expect(processes.findByMark(`${id}/vm1`)).toEqual([]);
  expect(second.pid).toBeGreaterThan(0);
});
