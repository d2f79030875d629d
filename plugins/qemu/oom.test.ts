import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { lookForOom, markOom, oomLine } from './oom.ts';
import type { OomSources } from './oom.ts';

// As kernels 6.1 and 4.19 write them.
const global61 = 'Out of memory: Killed process 2971 (qemu-system-x86) total-vm:1466092kB, anon-rss:812340kB, file-rss:4kB, shmem-rss:0kB, UID:2000000001 pgtables:2060kB oom_score_adj:0';
const group61 = 'Memory cgroup out of memory: Killed process 2972 ((sd) pam) total-vm:1kB, anon-rss:1kB, file-rss:0kB';
const old419 = 'Killed process 2973 (qemu-system-x86) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB';

let dir: string;
let sources: OomSources;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'banger-oom-'));
  sources = { kmsg: join(dir, 'kmsg'), cgroups: join(dir, 'cgroup'), proc: join(dir, 'proc') };
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));
const put = (path: string, text: string): void => {
  mkdirSync(dirname(join(dir, path)), { recursive: true });
  writeFileSync(join(dir, path), text);
};

describe('the kernel\'s log', () => {
  const log = ['oom_reaper: reaped process 1 (a)', global61, group61, old419, 'usb 1-1: new device called Killed process'];
  test.each([[2971, global61], [2972, group61], [2973, old419]])('names process %d', (pid, line) => {
    expect(oomLine(log, [1, pid])).toBe(line);
  });

  test('says nothing of a process whose number only begins so, nor of one that it did not kill', () => {
    expect(oomLine(log, [297, 29711, 1])).toBeUndefined();
  });

  test('is read off the device record by record', async () => {
    put('kmsg', `6,339,5140900,-;${global61}\n SUBSYSTEM=x\n`);
    expect(await lookForOom([2971], undefined, sources)).toEqual({ evidence: global61, looked: [`looked at the kernel's log (${sources.kmsg})`] });
  });

  test('is the real one where this host lets us, and has an end', async () => {
    const { evidence, looked } = await lookForOom([2 ** 22 + 1], undefined);
    expect(evidence).toBeUndefined();
    expect(looked[0]).toMatch(/^(looked at the kernel's log \(\/dev\/kmsg\)|the kernel's log \(\/dev\/kmsg\) cannot be read: E[A-Z]+)$/);
  });
});

describe('the memory cgroup', () => {
  test.each([
    ['version 2', '0::/user.slice/vm\n', 'cgroup/user.slice/vm/memory.events', 'low 0\nhigh 0\noom 3\noom_kill 2\noom_group_kill 0\n'],
    ['version 1', '9:name=systemd:/\n4:cpu,memory:/vms\n0::/\n', 'cgroup/memory/vms/memory.oom_control', 'oom_kill_disable 0\nunder_oom 0\noom_kill 2\n'],
    ['both, with the controller in version 2', '1:name=systemd:/\n0::/vms\n', 'cgroup/unified/vms/memory.events', 'oom_kill 2\n'],
  ])('of %s is found, and tells by a counter that grew', async (_name, groups, file, text) => {
    put('proc/42/cgroup', groups);
    put(file, text);
    const mark = await markOom(42, sources);
    expect(mark).toEqual({ file: join(dir, file), count: 2 });
    expect(await lookForOom([42], mark, sources)).toEqual({ looked: [
      `the kernel's log (${sources.kmsg}) cannot be read: ENOENT`, `looked at oom_kill in ${join(dir, file)}: 2 at its start, 2 now`,
    ] });
    put(file, text.replace('oom_kill 2', 'oom_kill 3'));
    expect((await lookForOom([42], mark, sources)).evidence).toBe(`the kernel killed a process of its memory cgroup (${join(dir, file)})`);
    rmSync(join(dir, file));
    expect(await lookForOom([42], mark, sources)).toMatchObject({ looked: [expect.any(String), `the counter in ${join(dir, file)} is gone`] });
  });

  test('is none where there is none, and a path that leads out is not followed', async () => {
    expect(await markOom(42, sources)).toBeUndefined();
    put('proc/42/cgroup', '0::/../../etc\n');
    expect(await markOom(42, sources)).toBeUndefined();
    expect((await lookForOom([42], undefined, sources)).looked.at(-1)).toBe('no memory cgroup to look at');
  });
});
