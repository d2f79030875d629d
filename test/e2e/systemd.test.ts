// The image's own init: systemd boots, the agent runs beside it, and systemd's own power verbs are understood.
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
const guest = async (...command: string[]): Promise<string> => (await host.ok(['vm', 'exec', 'sysd', '--', ...command])).out.trim();

test('systemd is PID 1 and reaches a running system', async () => {
  expect(await guest('cat', '/proc/1/comm')).toBe('systemd');
  await waitFor('systemd to be up', async () => ['running', 'degraded'].includes((await host.banger(['vm', 'exec', 'sysd', '--', 'systemctl', 'is-system-running'])).out.trim()), 240_000);
  expect(await guest('systemctl', 'list-units', '--failed', '--no-legend')).toBe('');
  expect(await guest('stat', '-c', '%m', '/root/.bashrc')).toBe('/root');
});

test('the work disk survives a graceful stop', async () => {
  await guest('sh', '-c', 'echo unsynced > /root/late');
  await host.ok(['vm', 'stop', 'sysd'], { timeoutMs: 240_000 });
  await host.ok(['vm', 'start', 'sysd'], { timeoutMs: 240_000 });
  expect(await guest('cat', '/root/late')).toBe('unsynced');
});

test('systemctl poweroff stops the VM and is shown as what it is', async () => {
  await host.banger(['vm', 'exec', 'sysd', '--', 'systemctl', 'poweroff']);
  await waitFor('the VM to be stopped', async () => (await host.vm('sysd')).state === 'stopped', 120_000);
  expect((await host.vm('sysd')).stateReason).toMatch(/guest poweroff/);
});
