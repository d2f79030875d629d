// A paused VM: its guest stands still, keeps all it had, and does not notice; nobody waits for it.
import type { ChildProcess } from 'node:child_process';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeHost, type Host } from '../support/host.ts';
import { waitFor } from '../support/wait.ts';

let host: Host;
/** A loop in the guest, each number as it comes. */
let counter: ChildProcess;
let counted: number[];
beforeAll(async () => {
  host = await makeHost();
  await host.ok(['vm', 'run', '--name', 'napper', '-d']);
});
afterAll(async () => {
  counter?.kill('SIGKILL');
  await host.dispose();
});

const state = async (): Promise<string> => (await host.vm('napper')).state;
const inGuest = async (...words: string[]): Promise<string> => (await host.ok(['vm', 'exec', 'napper', '--', ...words])).out.trim();
/** Of the guest's monotonic clock, which nobody sets. */
const guestUptime = async (): Promise<number> => Number.parseFloat(await inGuest('cat', '/proc/uptime'));
const guestTime = async (): Promise<number> => Number(await inGuest('date', '+%s.%N')) * 1000;
const waitMs = (what: string, ms: number): Promise<true> => {
  const from = performance.now();
  return waitFor(what, () => performance.now() - from > ms || undefined);
};
async function expectRefused(): Promise<void> {
  const from = performance.now();
  const { code, err } = await host.banger(['vm', 'exec', 'napper', '--', 'true']);
  expect([code, err]).toEqual([125, expect.stringContaining('VM napper is paused\n  hint: banger vm resume napper')]);
  // A liveness limit: a guest that is asked does not answer for 15 s and more.
  expect(performance.now() - from).toBeLessThan(10_000);
}

test('stands still and refuses what needs its guest; an open command waits', async () => {
  counted = [];
  counter = host.spawnCli(['vm', 'exec', 'napper', '--', 'sh', '-c', 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done']);
  counter.stdout!.on('data', (chunk: Buffer) => { counted.push(...chunk.toString().trim().split('\n').map(Number)); });
  await waitFor('the loop to count', () => counted.length > 5);
  expect((await host.ok(['vm', 'pause', 'napper'])).out).toBe('napper paused\n');
  expect(await state()).toBe('paused');
  await expectRefused();
  // What was on its way has come.
  const still = counted.length;
  expect((await host.ok(['vm', 'list'])).out).toMatch(/napper +paused/);
  expect((await host.ok(['vm', 'show', 'napper'])).out).toMatch(/state +paused/);
  expect((await host.ok(['vm', 'pause', 'napper'])).out).toBe('napper paused\n');
  await expectRefused();
  expect(counted.length).toBe(still);
});

test('goes on where it was, and its clock is right', async () => {
  await waitMs('a pause that a clock would show', 6_000);
  const last = counted.at(-1)!;
  expect((await host.ok(['vm', 'resume', 'napper'])).out).toBe('napper resumed\n');
  expect(await state()).toBe('running');
  const before = Date.now();
  const guest = await guestTime();
  expect(guest).toBeGreaterThan(before - 2_000);
  expect(guest).toBeLessThan(Date.now() + 2_000);
  await waitFor('the loop to go on', () => counted.length > last + 5);
  // No number is missing, and none came twice.
  expect(counted).toEqual(counted.map((_, index) => index + 1));
  expect((await host.ok(['vm', 'resume', 'napper'])).out).toBe('napper resumed\n');
  counter.kill('SIGKILL');
});

test('is paused for the next daemon, too, and its guest has not aged', async () => {
  const uptime = await guestUptime();
  const from = performance.now();
  await host.ok(['vm', 'pause', 'napper']);
  await host.killDaemon();
  await host.ok(['vm', 'list']);
  await waitFor('the daemon to know', async () => await state() === 'paused');
  await expectRefused();
  await waitMs('a pause that a clock would show', 6_000);
  await host.ok(['vm', 'resume', 'napper']);
  const aged = await guestUptime() - uptime;
  expect(aged).toBeLessThan((performance.now() - from) / 1000 - 5);
  expect(Math.abs(await guestTime() - Date.now())).toBeLessThan(2_000);
});

test('has its clock set by a daemon that finds it with a wrong one, as after a sleep of the host', async () => {
  await inGuest('date', '-s', '2020-01-01');
  expect(await guestTime()).toBeLessThan(Date.now() - 100_000);
  await host.killDaemon();
  await host.ok(['vm', 'list']);
  await waitFor('the clock to be set', async () => Math.abs(await guestTime() - Date.now()) < 2_000);
});

test('is stopped by its guest all the same', async () => {
  await host.ok(['vm', 'pause', 'napper']);
  await host.ok(['vm', 'stop', 'napper']);
  expect(await host.vm('napper')).toMatchObject({ state: 'stopped' });
  // The guest's kernel had its time to power off.
  expect((await host.ok(['vm', 'logs', 'napper'])).out).toContain('reboot: Power down');
  const { code, err } = await host.banger(['vm', 'pause', 'napper']);
  expect([code, err]).toEqual([1, expect.stringContaining('VM napper is not running')]);
});
