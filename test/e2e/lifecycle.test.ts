// start, stop, set, restart, and what the guest does to itself.
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeHost, type Host } from '../support/host.ts';
import { waitFor } from '../support/wait.ts';

let host: Host;
beforeAll(async () => {
  host = await makeHost();
  await host.ok(['vm', 'create', '--name', 'box']);
});
afterAll(async () => {
  await host.dispose();
});

const guest = async (...command: string[]): Promise<string> => (await host.ok(['vm', 'exec', 'box', '--', ...command])).out.trim();
const bootId = (): Promise<string> => guest('cat', '/proc/sys/kernel/random/boot_id');

describe('a VM', () => {
  test("has the image's /root on its own disk, and a root disk grown to its size", async () => {
    expect(await guest('stat', '-c', '%m', '/root/.bashrc')).toBe('/root');
    const rootMiB = Number(await guest('sh', '-c', 'df -m --output=size / | tail -1'));
    expect(rootMiB).toBeGreaterThan(7 * 1024);
    expect(await guest('hostname')).toBe('box');
  });

  test('keeps /root and the root disk over stop and start', async () => {
    await guest('sh', '-c', 'echo work > /root/kept; echo system > /etc/kept; chown 1234:1234 /root/kept');
    await host.ok(['vm', 'stop', 'box']);
    const stopped = await host.vm('box');
    expect(stopped.state).toBe('stopped');
    expect(await host.marked()).toEqual([]);
    await host.ok(['vm', 'start', 'box']);
    expect(await guest('sh', '-c', 'cat /root/kept /etc/kept; stat -c %u /root/kept')).toBe('work\nsystem\n1234');
  });

  test('exec on a stopped VM is refused with 125, and set counts from the next start', async () => {
    await host.ok(['vm', 'stop', 'box']);
    const refused = await host.banger(['vm', 'exec', 'box', '--', 'true']);
    expect(refused.code).toBe(125);
    expect(refused.err).toMatch(/not running/);
    await host.ok(['vm', 'set', 'box', '--vcpu', '2', '--memory', '640']);
    await host.ok(['vm', 'start', 'box']);
    expect(await guest('nproc')).toBe('2');
    expect(Number(await guest('sh', '-c', "awk '/MemTotal/{print $2}' /proc/meminfo"))).toBeGreaterThan(550 * 1024);
  });

  test('restart is a power cycle', async () => {
    const before = await bootId();
    await host.ok(['vm', 'restart', 'box']);
    expect(await bootId()).not.toBe(before);
  });

  test("the guest's own reboot restarts the guest and is counted", async () => {
    const before = await bootId();
    const reboots = (await host.vm('box')).reboots;
    await host.banger(['vm', 'exec', 'box', '--', 'reboot']);
    await waitFor('the guest to be back', async () => {
      const result = await host.banger(['vm', 'exec', 'box', '--', 'cat', '/proc/sys/kernel/random/boot_id'], { timeoutMs: 10_000 });
      return result.code === 0 && result.out.trim() !== before;
    }, 120_000);
    expect((await host.vm('box')).reboots).toBe(reboots + 1);
    expect(await guest('cat', '/root/kept')).toBe('work');
  });

  test("the guest's own poweroff stops the VM and is shown as such", async () => {
    await host.banger(['vm', 'exec', 'box', '--', 'poweroff']);
    await waitFor('the VM to be stopped', async () => (await host.vm('box')).state === 'stopped');
    expect((await host.vm('box')).stateReason).toMatch(/guest poweroff/);
    expect(await waitFor('everything to be gone', async () => (await host.marked()).length === 0)).toBe(true);
  });

  test('kill ends it as stopped; logs keep a bounded console', async () => {
    await host.ok(['vm', 'start', 'box']);
    const flood = 'i=0; while [ $i -lt 6 ]; do head -c 1048576 /dev/zero | tr "\\0" x; echo; i=$((i+1)); done > /dev/ttyS0';
    await guest('sh', '-c', flood);
    const dir = join(host.stateDir, 'vms', (await host.vm('box')).id, 'console');
    const boots = readdirSync(dir).map((name) => Number(/^(\d+)\.log(\.1)?$/.exec(name)?.[1]));
    const last = Math.max(...boots);
    const logBytes = readdirSync(dir).filter((name) => name.startsWith(`${last}.`)).reduce((sum, name) => sum + statSync(join(dir, name)).size, 0);
    expect(new Set(boots).size).toBeLessThanOrEqual(5);
    expect(logBytes).toBeGreaterThan(64 * 1024);
    expect(logBytes).toBeLessThan(5 * 1024 * 1024);
    expect((await host.ok(['vm', 'logs', 'box'])).out).toContain('xxxx');
    await host.ok(['vm', 'kill', 'box', '--signal', 'KILL']);
    expect((await host.vm('box')).state).toBe('stopped');
  });

  test('delete leaves nothing of it', async () => {
    const { id } = await host.vm('box');
    await host.ok(['vm', 'delete', 'box']);
    expect(readdirSync(join(host.stateDir, 'vms'))).not.toContain(id);
    expect(JSON.parse((await host.ok(['doctor', '--leaks', '--json'])).out)).toMatchObject({ leaks: [], undoFailed: [] });
  });
});
