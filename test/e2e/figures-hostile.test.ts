// Guests that are no help to who watches them: figures that are lies, an agent that stands still. Frozen VMMs: figures.test.ts.
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { VmPortsResult, VmStats } from '../../core/api.ts';
import { parseOpenMetrics } from '../../plugins/stats/testing/openmetrics.ts';
import { makeHost, type Host } from '../support/host.ts';
import { waitFor } from '../support/wait.ts';

let host: Host;
beforeAll(async () => {
  host = await makeHost({ config: '[vm_defaults]\nvcpu = 1\nmemory_mib = 512\ninit = "agent"\n[plugins.stats]\npoll_interval = "1s"\n' });
  for (const name of ['bad', 'good']) await host.ok(['vm', 'run', '--name', name, '-d']);
});
afterAll(async () => { await host.dispose(); });

const statsOf = async (name: string): Promise<VmStats> => (JSON.parse((await host.ok(['vm', 'stats', '--json', name])).out) as { stats: readonly VmStats[] }).stats[0]!;
const inGuest = async (script: string, input = ''): Promise<string> => {
  const { code, out, err } = await host.banger(['vm', 'exec', 'bad', '--', 'sh', '-ec', script], { input });
  expect([code, err]).toEqual([0, '']);
  return out;
};
/** What the guest's kernel says at `path` is `text` while `look` looks, for its agent too. */
async function lying(path: string, text: string, look: () => Promise<void>): Promise<void> {
  await inGuest(`cat >/run/lie; mount --bind /run/lie ${path}`, `${text}\n`);
  await look();
  await inGuest(`umount ${path}`);
}
/** As `lying`, for files of /proc/net, which each process has of its own: a /proc that leads to the true one for all the rest. */
async function lyingOfNet(name: string, text: string, look: () => Promise<void>): Promise<void> {
  await inGuest([
    'mkdir /run/true /run/false', 'mount -t proc proc /run/true', 'mkdir /run/false/net', `cat >/run/false/net/${name}`,
    'for f in /run/true/*; do n=${f##*/}; test $n = net || ln -s $f /run/false/$n; done',
    'for f in /run/true/self/net/*; do n=${f##*/}; ' + `test $n = ${name} || ln -s /run/true/self/net/$n /run/false/net/$n; done`, 'mount --bind /run/false /proc',
  ].join('\n'), `${text}\n`);
  await look();
  await inGuest('umount /proc /run/true; rm -r /run/true /run/false');
}

const meminfo = (total: string, available: string): string => `MemTotal: ${total} kB\nMemFree: 1 kB\nMemAvailable: ${available} kB\nSwapTotal: 0 kB\nSwapFree: 0 kB`;
const netdev = (rx: string, tx: string): string => `Inter-|   Receive  |  Transmit\n face |bytes packets\n  eth0: ${rx} 0 0 0 0 0 0 0 ${tx} 0 0 0 0 0 0 0`;

test.each([
  ['negative', 'meminfo', '/proc/meminfo', meminfo('-5', '-6')],
  ['huge', 'meminfo', '/proc/meminfo', meminfo('9'.repeat(40), '1')],
  ['more free than there is', 'meminfo', '/proc/meminfo', meminfo('100', '200')],
  ['of a wrong type', 'meminfo', '/proc/meminfo', meminfo('NaN', '{}')],
  ['missing', 'meminfo', '/proc/meminfo', 'nothing'],
  ['longer than they may be', 'meminfo', '/proc/meminfo', 'x\n'.repeat(40_000)],
  ['negative', 'stat', '/proc/stat', 'cpu -1 -2 -3 -4 -5 -6 -7 -8\nbtime -9'],
  ['huge', 'stat', '/proc/stat', `cpu ${'9 '.repeat(5)}${'8'.repeat(30)} 1\nbtime 1`],
  ['of a wrong type', 'loadavg', '/proc/loadavg', '1e9 \u001B[2J 0x7 a/b c'],
  ['huge', 'uptime', '/proc/uptime', `${'7'.repeat(100)} 1`],
])('figures that are %s: %s is left out and named, the rest stands, nothing reaches the metrics', async (_, section, path, text) => {
  await lying(path, text, async () => {
    const { guest, problem } = await statsOf('bad');
    expect([problem, guest!.odd]).toEqual([undefined, [section]]);
    expect(guest!.fileSystems.map((fs) => fs.path)).toEqual(['/', '/root']);
    const told = { meminfo: guest!.memory, stat: guest!.cpu, loadavg: guest!.load, uptime: guest!.uptimeSeconds };
    for (const [name, value] of Object.entries(told)) expect(value === undefined, name).toBe(name === section);
    expect((await statsOf('good')).guest!.odd).toEqual([]);
  });
});

test.each([['negative', '-5', '-6'], ['huge', '9'.repeat(40), '1'], ['beyond what adds up', '9'.repeat(15), '1e3']])('counters of the network that are %s are left out and named', async (_, rx, tx) => {
  await lyingOfNet('dev', netdev(rx, tx), async () => {
    const { guest, network } = await statsOf('bad');
    expect([guest!.odd, network]).toEqual([['netdev'], undefined]);
    const { samples } = parseOpenMetrics((await host.ok(['metrics'])).out).get('system_network_io_bytes')!;
    for (const { value } of samples) expect(value).toBeGreaterThanOrEqual(0);
  });
});

test('listeners that are lies: the host listens at none of them, and the other VM is shown', async () => {
  const row = (port: string): string => `   0: 00000000:${port} 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0`;
  await lyingOfNet('tcp', ['  sl  local_address', row('0000'), row('FFFFF'), row('-001'), row('ZZZZ')].join('\n'), async () => {
    const { code, out } = await host.banger(['vm', 'ports', 'bad', 'good', '--json']);
    const [bad, good] = (JSON.parse(out) as VmPortsResult).vms;
    expect([code, bad, good]).toEqual([1, expect.objectContaining({ ports: [], error: expect.objectContaining({ code: 'operation_failed' }) as object }), expect.not.objectContaining({ error: expect.anything() as object })]);
  });
});

test('an agent that stands still is told as such, and nobody waits for it', async () => {
  // The freezer of control groups stops PID 1, too. It thaws by itself: nobody can ask the guest to.
  await inGuest([
    'mkdir -p /run/cg; mount -t cgroup2 none /run/cg; mkdir /run/cg/frozen /run/cg/free', 'echo 1 >/run/cg/frozen/cgroup.procs',
    'setsid sh -c "echo \\$\\$ >/run/cg/free/cgroup.procs; echo 1 >/run/cg/frozen/cgroup.freeze; sleep 40; echo 0 >/run/cg/frozen/cgroup.freeze" >/dev/null 2>&1 </dev/null &',
  ].join('\n')).catch(() => ''); // frozen before it could tell the end of the command
  const order: string[] = [];
  const frozen = statsOf('bad').then((stats) => {
    order.push('frozen');
    return stats;
  });
  await Promise.all([statsOf('good'), host.ok(['vm', 'list']), host.ok(['vm', 'top']), host.ok(['metrics']), host.ok(['vm', 'health', 'good'])]);
  order.push('the others');
  const stats = await frozen;
  expect(stats).toMatchObject({ state: 'running', problem: expect.stringMatching(/answer/) as string, host: { threads: expect.any(Number) as number } });
  expect(stats).not.toHaveProperty('guest');
  expect(order).toEqual(['the others', 'frozen']);
  expect(await host.banger(['vm', 'ping', 'bad', 'good'])).toMatchObject({ code: 1, out: expect.stringMatching(/^bad did not answer: .*\ngood answered in \d+ ms\n$/) as string });
  expect((await host.banger(['vm', 'ports', 'bad', 'good'])).err).toMatch(/bad/);
  const { at } = await statsOf('good');
  await waitFor('the next figures of the other one', async () => (await statsOf('good')).at > at);
  await waitFor('the guest to answer again', async () => (await host.banger(['vm', 'ping', 'bad'])).code === 0, 120_000);
  expect(await waitFor('its figures', async () => (await statsOf('bad')).guest)).toBeDefined();
});
