// The image's own init: the agent serves before systemd has booted, goes into its service, and systemd's own power verbs are understood.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeHost, type Host } from '../support/host.ts';
import { waitFor } from '../support/wait.ts';

let host: Host;
beforeAll(async () => {
  host = await makeHost();
  await host.ok(['vm', 'run', '--name', 'sysd', '--init', 'image', '-d']);
});
afterAll(async () => {
  await host.dispose();
});
/** The agent answers before systemd does. */
const systemdUp = (): Promise<true> => waitFor('systemd to be up', async () => ['running', 'degraded'].includes((await host.banger(['vm', 'exec', 'sysd', '--', 'systemctl', 'is-system-running'])).out.trim()) || undefined, 240_000);
const guest = async (...command: string[]): Promise<string> => (await host.ok(['vm', 'exec', 'sysd', '--', ...command])).out.trim();

test('systemd is PID 1 and reaches a running system', async () => {
  await guest('touch', '/tmp/early');
  await systemdUp();
  expect(await guest('cat', '/proc/1/comm')).toBe('systemd');
  expect(await guest('systemctl', 'list-units', '--failed', '--no-legend')).toBe('');
  expect(await guest('stat', '-c', '%m', '/root/.bashrc')).toBe('/root');
});

test('what the first commands put into /tmp stays', async () => {
  expect(await guest('ls', '/tmp/early')).toBe('/tmp/early');
});

test("the agent that served before systemd belongs to systemd's service, which stands by for its end", async () => {
  const serving = await guest('sh', '-c', 'grep -o banger-agent.service /proc/self/cgroup; cut -d" " -f4 /proc/$$/stat');
  const [unit, first] = serving.split('\n');
  expect(unit).toBe('banger-agent.service');
  const standBy = await guest('systemctl', 'show', '-P', 'MainPID', 'banger-agent');
  expect(standBy).not.toBe(first);
  await host.banger(['vm', 'exec', 'sysd', '--', 'sh', '-c', `kill -KILL ${first}`]);
  expect(await guest('sh', '-c', 'cut -d" " -f4 /proc/$$/stat')).toBe(standBy);
});

test('the work disk survives a graceful stop', async () => {
  await guest('sh', '-c', 'echo unsynced > /root/late');
  await host.ok(['vm', 'stop', 'sysd'], { timeoutMs: 240_000 });
  await host.ok(['vm', 'start', 'sysd'], { timeoutMs: 240_000 });
  expect(await guest('cat', '/root/late')).toBe('unsynced');
  expect(await guest('ls', '/tmp')).not.toContain('early');
});

test('systemctl poweroff stops the VM and is shown as what it is', async () => {
  await systemdUp();
  await host.banger(['vm', 'exec', 'sysd', '--', 'systemctl', 'poweroff']);
  await waitFor('the VM to be stopped', async () => (await host.vm('sysd')).state === 'stopped', 120_000);
  expect((await host.vm('sysd')).stateReason).toMatch(/guest poweroff/);
});
