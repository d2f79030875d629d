// Figures of real guests, compared with what the kernels of host and guest say themselves.
import { readFileSync, statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { VmStats } from '../../core/api.ts';
import { parseOpenMetrics } from '../../plugins/stats/testing/openmetrics.ts';
import { makeHost, type Host } from '../support/host.ts';
import { waitFor } from '../support/wait.ts';

const base = '[vm_defaults]\nvcpu = 1\nmemory_mib = 512\ninit = "agent"\n';
const mib = 2 ** 20;

async function statsOf(host: Host, ...words: string[]): Promise<readonly VmStats[]> {
  return (JSON.parse((await host.ok(['vm', 'stats', '--json', ...words])).out) as { stats: readonly VmStats[] }).stats;
}
const oneOf = async (host: Host, name: string): Promise<VmStats> => (await statsOf(host, name))[0]!;
const inGuest = async (host: Host, name: string, script: string): Promise<string> => (await host.ok(['vm', 'exec', name, '--', 'sh', '-c', script])).out;

describe('figures of a VM under load', () => {
  let host: Host;
  let pid: number;
  beforeAll(async () => {
    host = await makeHost({ config: `${base}[plugins.stats]\npoll_interval = "1s"\n` });
    await host.ok(['vm', 'run', '--name', 'devbox', '-d']);
    await host.ok(['vm', 'run', '--name', 'other', '-d']);
    pid = (await host.vm('devbox')).process!.pid;
    await host.ok(['vm', 'exec', '-d', 'devbox', '--', 'timeout', '300', 'sh', '-c', 'while :; do :; done']);
  });
  afterAll(async () => { await host.dispose(); });

  /** Seconds of CPU, threads and resident bytes by the host's kernel. */
  function hostView(): { readonly cpuSeconds: number; readonly threads: number; readonly rssBytes: number } {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1)!.split(' ');
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    const of = (key: string): number => Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(status)![1]);
    return { cpuSeconds: (Number(fields[11]) + Number(fields[12])) / 100, threads: of('Threads'), rssBytes: of('VmRSS') * 1024 };
  }
  /** Counters that only grow, by the guest's kernel; in hundredths of a second and bytes. */
  async function guestView(): Promise<{ readonly busySeconds: number; readonly rxBytes: number; readonly txBytes: number; readonly uptimeSeconds: number }> {
    const text = await inGuest(host, 'devbox', 'head -1 /proc/stat; cat /proc/uptime; grep -v "lo:" /proc/net/dev | tail -n +3');
    const [cpu, uptime, ...devices] = text.trim().split('\n');
    const [user, nice, system, , , irq, softirq] = cpu!.trim().split(/ +/).slice(1).map(Number);
    const columns = devices.map((line) => line.split(':')[1]!.trim().split(/ +/).map(Number));
    const sum = (column: number): number => columns.reduce((total, values) => total + values[column]!, 0);
    return { busySeconds: (user! + nice! + system! + irq! + softirq!) / 100, uptimeSeconds: Number(uptime!.split(' ')[0]), rxBytes: sum(0), txBytes: sum(8) };
  }

  test('CPU time, memory and threads of the VMM are the kernel\'s', async () => {
    await waitFor('the load to show', async () => ((await oneOf(host, 'devbox')).host?.cpuPercent ?? 0) > 10);
    const before = hostView();
    const { host: figures, uptimeSeconds } = await oneOf(host, 'devbox');
    const after = hostView();
    expect(figures!.cpuSeconds).toBeGreaterThanOrEqual(before.cpuSeconds);
    expect(figures!.cpuSeconds).toBeLessThanOrEqual(after.cpuSeconds);
    // One virtual CPU, and QEMU's own threads beside it.
    expect(figures!.cpuPercent).toBeLessThan(400);
    expect(Math.abs(figures!.rssBytes - after.rssBytes)).toBeLessThan(Math.max(16 * mib, after.rssBytes * 0.1));
    // What it shares with the other VMM counts half; much of a guest's memory is its own.
    expect(figures!.pssBytes).toBeGreaterThan(figures!.rssBytes * 0.3);
    expect(figures!.pssBytes).toBeLessThan(figures!.rssBytes * 1.1);
    expect(Math.abs(figures!.threads - after.threads)).toBeLessThanOrEqual(4);
    const sinceBoot = Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]);
    const startedAt = Number(readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1)!.split(' ')[19]) / 100;
    expect(uptimeSeconds).toBeGreaterThan(0);
    expect(uptimeSeconds).toBeLessThanOrEqual(sinceBoot - startedAt + 0.02);
  });

  test('CPU time, network and uptime of the guest are between two looks of its own', async () => {
    const before = await guestView();
    const { guest, network } = await oneOf(host, 'devbox');
    const after = await guestView();
    const figures = { busySeconds: guest!.cpu!.busySeconds, uptimeSeconds: guest!.uptimeSeconds!, ...network! };
    for (const key of ['busySeconds', 'uptimeSeconds', 'rxBytes', 'txBytes'] as const) {
      expect(figures[key], key).toBeGreaterThanOrEqual(before[key]);
      expect(figures[key], key).toBeLessThanOrEqual(after[key]);
    }
    expect(guest!.odd).toEqual([]);
    await waitFor('the guest to be busy', async () => ((await oneOf(host, 'devbox')).guest?.cpuPercent ?? 0) > 80);
    expect((await oneOf(host, 'devbox')).guest!.cpuPercent).toBeLessThanOrEqual(100);
  });

  test('file systems are what df says, memory what /proc/meminfo says', async () => {
    await inGuest(host, 'devbox', 'head -c 30000000 /dev/urandom > /root/blob; sync');
    const rows = (await inGuest(host, 'devbox', 'df -B1 --output=size,used,avail / /root | tail -n 2')).trim().split('\n').map((line) => line.trim().split(/ +/).map(Number));
    const meminfo = await inGuest(host, 'devbox', 'cat /proc/meminfo');
    const bytes = (key: string): number => Number(new RegExp(`^${key}: +(\\d+) kB`, 'm').exec(meminfo)![1]) * 1024;
    const { guest, disks } = await oneOf(host, 'devbox');
    expect(guest!.fileSystems.map(({ path }) => path)).toEqual(['/', '/root']);
    for (const [n, [size, used, avail]] of rows.entries()) {
      const fs = guest!.fileSystems[n]!;
      expect(fs.totalBytes).toBe(size);
      expect(Math.abs(fs.usedBytes - used!)).toBeLessThan(4 * mib);
      expect(Math.abs(fs.availableBytes - avail!)).toBeLessThan(4 * mib);
    }
    expect(guest!.memory!.totalBytes).toBe(bytes('MemTotal'));
    expect(Math.abs(guest!.memory!.availableBytes - bytes('MemAvailable'))).toBeLessThan(32 * mib);
    // What the guest wrote is on the host, once it has let go of it.
    const work = join(host.stateDir, 'vms', (await host.vm('devbox')).id, 'work.img');
    expect(disks.map(({ id }) => id)).toEqual(['root', 'work']);
    expect(disks[1]!.virtualBytes).toBe(statSync(work).size);
    expect(Math.abs(disks[1]!.allocatedBytes - statSync(work).blocks * 512)).toBeLessThan(8 * mib);
    expect(disks[1]!.allocatedBytes).toBeGreaterThan(30_000_000);
  });

  test('the metrics are OpenMetrics and hold both VMs', async () => {
    const metrics = await waitFor('the poll to have asked both', async () => {
      const parsed = parseOpenMetrics((await host.ok(['metrics'])).out);
      return parsed.get('system_uptime_seconds')!.samples.length === 2 ? parsed : undefined;
    });
    expect(metrics.get('banger_vm_answering')!.samples.map(({ labels, value }) => [labels['vm'], value])).toEqual([['devbox', 1], ['other', 1]]);
    expect(metrics.get('process_cpu_time_seconds')!.samples).toHaveLength(2);
  });

  test('a VMM that stands still is told as such, and nobody waits for it', async () => {
    process.kill(pid, 'SIGSTOP');
    try {
      const order: string[] = [];
      const frozen = oneOf(host, 'devbox').then((stats) => {
        order.push('frozen');
        return stats;
      });
      await Promise.all([oneOf(host, 'other'), host.ok(['vm', 'list']), host.ok(['vm', 'top']), host.ok(['metrics'])]);
      order.push('the others');
      expect(await frozen).toMatchObject({ state: 'running', problem: `its VMM, process ${pid}, was stopped by a signal`, host: { threads: expect.any(Number) as number } });
      expect(order).toEqual(['the others', 'frozen']);
      expect(await host.banger(['vm', 'ping', 'devbox', 'other'])).toMatchObject({ code: 1, out: expect.stringMatching(/^devbox did not answer: .*\nother answered in \d+ ms\n$/) as string });
      // The poll goes on for the other one.
      const { at } = await oneOf(host, 'other');
      await waitFor('the next figures', async () => (await oneOf(host, 'other')).at > at);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await waitFor('the guest to answer again', async () => (await host.banger(['vm', 'ping', 'devbox'])).code === 0);
    expect(await oneOf(host, 'devbox')).not.toHaveProperty('problem');
  });

  test('the last figures outlive the VM and the daemon', async () => {
    const last = await oneOf(host, 'other');
    await host.ok(['vm', 'stop', 'other']);
    const stopped = await oneOf(host, 'other');
    expect(stopped).toMatchObject({ state: 'stopped', stale: true, guest: { memory: { totalBytes: last.guest!.memory!.totalBytes } } });
    expect(stopped.host!.cpuSeconds).toBeGreaterThanOrEqual(last.host!.cpuSeconds);
    expect((await host.ok(['vm', 'stats', 'other'])).err).toBe('note: not running, the last figures known: other\n');
    await host.killDaemon();
    expect(await oneOf(host, 'other')).toEqual(stopped);
    // The one that runs is found again, with all of its figures.
    await waitFor('figures of the guest', async () => (await oneOf(host, 'devbox')).guest !== undefined);
  });
});

describe('the stop of a VM that nobody uses', () => {
  let host: Host;
  beforeAll(async () => {
    host = await makeHost({ config: `${base}[plugins.stats]\npoll_interval = "1s"\nauto_stop_stale_after = "3s"\n` });
  });
  afterAll(async () => { await host.dispose(); });

  test('comes for an idle one, whatever the poll asks, and not for one with a session', async () => {
    await host.ok(['vm', 'create', '--name', 'idle', '--no-start']);
    await host.ok(['vm', 'run', '--name', 'busy', '-d']);
    const session = host.spawnCli(['vm', 'exec', 'busy', '--', 'sh', '-c', 'for n in 1 2 3 4 5 6 7 8; do echo tick; sleep 1; done; echo through; sleep 600']);
    let said = '';
    session.stdout!.on('data', (chunk: Buffer) => { said += chunk.toString(); });
    await waitFor('the session', () => said.includes('tick'));
    await host.ok(['vm', 'start', 'idle']);
    const view = await waitFor('the stop of the idle one', async () => {
      const idle = await host.vm('idle');
      return idle.state === 'stopped' ? idle : undefined;
    });
    expect(view).toMatchObject({ stateReason: 'unused for 3 s' });
    // Longer than a VM may be unused: the session has counted its own seconds.
    await waitFor('the session to have lasted', () => said.includes('through'));
    expect(await oneOf(host, 'busy')).toMatchObject({ state: 'running', use: { holds: [expect.any(String) as string] } });
    session.kill('SIGTERM');
    session.kill('SIGTERM');
    await waitFor('the stop of the other one', async () => (await host.vm('busy')).state === 'stopped');
    expect(host.log().split('\n').filter((line) => line.includes('stopped: unused for 3 s'))).toHaveLength(2);
  });

  test('does not come while a detached command runs, nor while a connection to a published port is open', async () => {
    const twiceTheLimit = (): Promise<true> => {
      const end = performance.now() + 6000;
      return waitFor('twice the limit', () => performance.now() > end);
    };
    const holds = async (): Promise<readonly string[]> => (await oneOf(host, 'serving')).use.holds;
    await host.ok(['vm', 'run', '--name', 'serving', '-d', '--publish', '7000:7000', '--no-auto-ports']);
    await host.ok(['vm', 'exec', '-d', 'serving', '--', 'sh', '-c', 'echo $$ >/run/command.pid; exec sleep 600']);
    await twiceTheLimit();
    expect(await oneOf(host, 'serving')).toMatchObject({ state: 'running', use: { holds: [] } });
    const server = 'import socket; s = socket.create_server(("0.0.0.0", 7000)); c, _ = s.accept(); c.sendall(b"in"); c.recv(1)';
    await inGuest(host, 'serving', `setsid python3 -c '${server}' >/dev/null 2>&1 </dev/null &`);
    const { address } = (await host.vm('serving')).sections['usernet'] as { address: string };
    const socket = await waitFor('the server', () => new Promise<Socket | undefined>((resolve) => {
      const one = connect({ host: address, port: 7000 }).on('error', () => undefined).on('close', () => resolve(undefined));
      one.once('data', () => resolve(one));
    }));
    await inGuest(host, 'serving', 'kill $(cat /run/command.pid)');
    await twiceTheLimit();
    expect(await holds()).toEqual(['connection to localhost:7000', 'connections to its ports']);
    socket.destroy();
    await waitFor('its stop', async () => (await host.vm('serving')).state === 'stopped');
  });
});
