// Why a VM is not running any more: what its guest did, what was done to its VMM, and what is left to start it again.
import { existsSync, mkdirSync, openSync, closeSync, rmdirSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { VmView } from '../../core/api.ts';
import { makeHost, type Host } from '../support/host.ts';
import { isLive } from '../support/processes.ts';
import { waitFor } from '../support/wait.ts';

let host: Host;
beforeAll(async () => {
  host = await makeHost();
  await host.ok(['vm', 'run', '--name', 'end', '-d']);
});
afterAll(async () => {
  await host.dispose();
});

const pidOf = async (): Promise<number> => (await host.vm('end')).process!.pid;
const stopped = (): Promise<VmView> => waitFor('the end of the VM to be settled', async () => {
  const view = await host.vm('end');
  return view.end === undefined ? undefined : view;
}, 60_000);
const show = async (): Promise<string> => (await host.ok(['vm', 'show', 'end'])).out;
const crash = 'echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger';

describe('by its guest', () => {
  test('a reboot is none: it goes on in place and is counted', async () => {
    const pid = await pidOf();
    await host.banger(['vm', 'exec', 'end', '--', 'reboot', '-f']);
    const view = await waitFor('the guest to be up again', async () => {
      const now = await host.vm('end');
      return now.reboots === 1 ? now : undefined;
    }, 60_000);
    expect(view).toMatchObject({ state: 'running', process: { pid } });
    expect(view).not.toHaveProperty('end');
  });

  test('a kernel panic is named with its reason and the last of the console, also after a restart of the daemon, until the next start', async () => {
    await host.banger(['vm', 'exec', 'end', '--', 'sh', '-c', crash]);
    const view = await stopped();
    expect(view.stateReason).toBe('guest panic: sysrq triggered crash');
    expect(view).toMatchObject({ reboots: 1, end: { reason: 'guest-panic' } });
    expect(Date.parse(view.end!.at)).toBeGreaterThan(Date.parse(view.startedAt!));
    expect(view.end!.detail).toHaveLength(21);
    expect(view.end!.detail!.join('\n')).toMatch(/Kernel panic - not syncing: sysrq triggered crash|sysrq_handle_crash|Kernel Offset/);
    expect((await host.ok(['vm', 'logs', 'end'])).out).toContain('Kernel panic - not syncing: sysrq triggered crash');
    const shown = await show();
    expect(shown).toMatch(/^state +stopped \(guest panic: sysrq triggered crash\)$/m);
    await host.killDaemon();
    expect(await show()).toBe(shown);
    await host.ok(['vm', 'start', 'end']);
    expect(await host.vm('end')).not.toHaveProperty('end');
    expect(await show()).not.toContain('panic');
  });

  test('a kernel panic while no daemon runs is no different', async () => {
    const pid = await pidOf();
    await host.ok(['vm', 'exec', '-d', 'end', '--', 'sh', '-c', `sleep 3; ${crash}`]);
    await host.killDaemon();
    await waitFor('the VMM to be gone', () => !isLive(pid), 60_000);
    await host.ok(['vm', 'list']);
    expect((await stopped()).stateReason).toBe('guest panic: sysrq triggered crash');
  });

  test('a poweroff is one', async () => {
    await host.ok(['vm', 'start', 'end']);
    await host.banger(['vm', 'exec', 'end', '--', 'sh', '-c', 'echo kept > /root/kept; echo changed > /etc/changed; sync; poweroff']);
    expect(await stopped()).toMatchObject({ stateReason: 'guest poweroff', end: { reason: 'guest-poweroff' } });
  });
});

describe('by its VMM', () => {
  test('TERM is named with who sent it', async () => {
    await host.ok(['vm', 'start', 'end']);
    process.kill(await pidOf(), 'SIGTERM');
    const view = await stopped();
    expect(view.stateReason).toMatch(new RegExp(`^VMM killed: SIGTERM from pid ${process.pid} \\(.+\\)$`));
    expect(view.end).toMatchObject({ reason: 'vmm-killed' });
  });

  test('KILL is named, that nobody can tell who sent it, and what was looked at', async () => {
    await host.ok(['vm', 'start', 'end']);
    process.kill(await pidOf(), 'SIGKILL');
    const view = await stopped();
    expect(view.stateReason).toBe('VMM killed: SIGKILL; the kernel does not tell who sent it');
    expect(view.end!.detail!.join('\n')).toMatch(/no word of the out-of-memory killer\n.*\/dev\/kmsg/);
    expect(await show()).toContain('/dev/kmsg');
  });

  test('the out-of-memory killer is named', async (ctx) => {
    const group = `/sys/fs/cgroup/memory/banger-test-${process.pid}`;
    try {
      mkdirSync(group);
      writeFileSync(join(group, 'memory.limit_in_bytes'), String(48 * 2 ** 20));
    } catch (error) {
      ctx.skip(`no memory cgroup of version 1 can be made: ${(error as Error).message}`);
    }
    try {
      await host.ok(['vm', 'start', 'end']);
      writeFileSync(join(group, 'cgroup.procs'), String(await pidOf()));
      // Holds what it reads until its end, so the guest's memory becomes the host's.
      await host.banger(['vm', 'exec', 'end', '--', 'sh', '-c', 'head -c 200M /dev/zero | tail']);
      const view = await stopped();
      expect(view.stateReason).toMatch(/^out of memory: Memory cgroup out of memory: Killed process \d+ \(qemu-system-x86\)/);
      expect(view.end).toMatchObject({ reason: 'out-of-memory' });
    } finally {
      await waitFor('the cgroup to be empty', () => {
        try {
          rmdirSync(group);
          return true;
        } catch {
          return !existsSync(group);
        }
      });
    }
  });
});

describe('recover', () => {
  const root = (id: string): string => join(host.stateDir, 'vms', id, 'root.qcow2');

  test('refuses a running VM, and has nothing to do to one that was stopped', async () => {
    await host.ok(['vm', 'start', 'end']);
    expect((await host.banger(['vm', 'recover', 'end'])).err).toMatch(/VM end is running/);
    await host.ok(['vm', 'stop', 'end']);
    expect((await host.ok(['vm', 'recover', 'end'])).out).toMatch(/^end can be started\n/);
  });

  test('says what is lost with a root disk that is damaged or gone, and makes a fresh one; the work disk stays', async () => {
    const { id } = await host.vm('end');
    const file = openSync(root(id), 'r+');
    writeSync(file, Buffer.alloc(65_536, 0xff), 0, 65_536, 3 * 65_536);
    closeSync(file);
    const damaged = await host.banger(['vm', 'recover', 'end']);
    expect(damaged.code).toBe(1);
    expect(damaged.out).toMatch(/^end cannot be started\n[^]*root disk +broken +.*damaged[^]*--reset-root/);
    rmSync(root(id));
    expect((await host.banger(['vm', 'start', 'end'])).code).toBe(1);
    expect((await host.vm('end')).state).toBe('error');
    const gone = await host.banger(['vm', 'recover', 'end']);
    expect([gone.code, gone.out]).toEqual([1, expect.stringMatching(/root\.qcow2 is gone: what the guest changed outside of \/root is lost/)]);
    expect((await host.ok(['vm', 'recover', 'end', '--reset-root'])).out).toMatch(/^end can be started\n[^]*root disk +repaired/);
    expect((await host.vm('end')).state).toBe('stopped');
    await host.ok(['vm', 'start', 'end']);
    expect((await host.ok(['vm', 'exec', 'end', '--', 'sh', '-c', 'cat /root/kept; ls /etc/changed 2>&1; true'])).out).toMatch(/^kept\n.*(No such file|cannot access)/);
    expect((await host.ok(['doctor', '--leaks'])).out).toBe('Nothing is left behind\n');
  });
});
