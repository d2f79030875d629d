import { spawn, type ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createProcesses } from '../../../core/process.ts';
import { waitFor } from '../../../test/support/wait.ts';
import { hostUptimeSeconds, parseVmmStat, readPss, readVmm } from './vmm.ts';

let child: ChildProcess;
const processes = createProcesses();
beforeAll(() => {
  child = spawn('sh', ['-c', 'i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; exec sleep 600'], { stdio: 'ignore' });
});
afterAll(() => { child.kill('SIGKILL'); });
const pid = (): number => child.pid!;
const status = (key: string): number => Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/${pid()}/status`, 'latin1'))?.[1]);

test('the figures of a process are those of the kernel\'s other files', async () => {
  await waitFor('sleep to run', () => readFileSync(`/proc/${pid()}/comm`, 'latin1') === 'sleep\n');
  const figures = readVmm(processes.identify(pid())!);
  expect(figures).toMatchObject({ threads: status('Threads'), isStopped: false });
  // statm is not exact (proc_pid_statm(5)): a few dozen pages of what status says.
  expect(Math.abs(figures!.rssBytes - status('VmRSS') * 1024)).toBeLessThan(1024 * 1024);
  expect(figures!.uptimeSeconds).toBeGreaterThanOrEqual(0);
  expect(figures!.uptimeSeconds).toBeLessThan(600);
  expect(figures!.cpuSeconds).toBeGreaterThan(0);
  expect(figures!.cpuSeconds).toBeLessThan(60);
});

test('a stopped process is told from a running one', async () => {
  const identity = processes.identify(pid())!;
  child.kill('SIGSTOP');
  await waitFor('the stop', () => readVmm(identity)?.isStopped === true);
  child.kill('SIGCONT');
  await waitFor('the end of the stop', () => readVmm(identity)?.isStopped === false);
});

test('a pid that has another owner, or none, has no figures', () => {
  const identity = processes.identify(pid())!;
  expect(readVmm({ ...identity, startTime: '1' })).toBeUndefined();
  expect(readVmm({ ...identity, pid: 2 ** 22 + 1 })).toBeUndefined();
});

test('PSS is at most RSS and more than nothing; a process that is not there has none', async () => {
  const pss = await readPss(process.pid, new AbortController().signal);
  expect(pss).toBeGreaterThan(1024 * 1024);
  expect(pss).toBeLessThanOrEqual(readVmm(processes.identify(process.pid)!)!.rssBytes * 1.2);
  expect(await readPss(2 ** 22 + 1, new AbortController().signal)).toBeUndefined();
});

test('however many ask, few walks over page tables go on at once, and who waits for too long has none', async () => {
  const isWalk = (fd: string): boolean => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).endsWith('/smaps_rollup');
    } catch {
      return false; // closed meanwhile
    }
  };
  let [most, isOver] = [0, false];
  const late = new AbortController();
  const all = Promise.all(Array.from({ length: 50 }, () => readPss(process.pid, new AbortController().signal))).finally(() => { isOver = true; });
  const waiting = readPss(process.pid, late.signal);
  late.abort();
  expect([await waiting, isOver]).toEqual([undefined, false]);
  for (; !isOver; await nextTurn()) most = Math.max(most, readdirSync('/proc/self/fd').filter(isWalk).length);
  expect((await all).every((pss) => pss !== undefined && pss > 0)).toBe(true);
  expect(most).toBeGreaterThan(0);
  expect(most).toBeLessThanOrEqual(2);
});

test('a command name with spaces and parentheses moves no field', () => {
  const rest = 'S 1 1 1 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 7 0 500 1000000 25 18446744073709551615';
  const expected = { startTime: '500', uptimeSeconds: 65 };
  expect(parseVmmStat(`12 (qemu) 3 (x) ${rest}`, expected)).toEqual({ cpuSeconds: 3, rssBytes: 102_400, threads: 7, uptimeSeconds: 60, isStopped: false });
  expect(parseVmmStat(`12 (qemu) Z${rest.slice(1)}`, expected)).toBeUndefined();
  expect(parseVmmStat('12 (qemu) S 1', expected)).toBeUndefined();
  expect(parseVmmStat('', expected)).toBeUndefined();
});

test('uptime counts as process start times do', () => {
  expect(Math.abs(hostUptimeSeconds() - Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]))).toBeLessThan(5);
});
