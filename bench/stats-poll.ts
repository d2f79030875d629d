// Figures: `vm stats` of one real VM as a call and as a command, and with 1,000 VMs on a fake driver what the poll costs the daemon beside one that does
// not poll, and how long the metrics text takes. The delays are those of the daemon's event loop; a timer of 5 ms measures them.
import { writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { repeat, report, timed } from './stats.ts';
import { makeHost, type Host } from '../test/support/host.ts';

const count = Number(process.env['BENCH_VMS'] ?? 1000);
const windowMs = Number(process.env['BENCH_WINDOW_MS'] ?? 30_000);
const pollMs = 10_000;
interface Measured { readonly cpuSeconds: number; readonly delayMs: Readonly<Record<string, number>> }

async function oneVm(): Promise<Record<string, unknown>> {
  const host = await makeHost();
  try {
    await host.ok(['vm', 'run', '--name', 'devbox', '-d']);
    const client = await host.rpc();
    const params = { refs: ['devbox'] };
    const figures = {
      call: await repeat(30, async () => { await client.call('vm.stats', params); }),
      callWithoutWait: await repeat(30, async () => { await client.call('vm.stats', { ...params, wait: false }); }),
      command: await repeat(15, async () => { await host.ok(['vm', 'stats', 'devbox']); }),
      ping: await repeat(30, async () => { await client.call('vm.ping', params); }),
    };
    client.close();
    return figures;
  } finally {
    await host.dispose();
  }
}

const config = (interval: string): string => `[vm_defaults]\nvcpu = 1\nmemory_mib = 64\ninit = "agent"\n[plugins.stats]\npoll_interval = "${interval}"\n`;

async function manyVms(): Promise<Record<string, unknown>> {
  const host = await makeHost({ bare: true, daemonEntry: 'bench/many-vms-daemon.ts', config: config(`${pollMs}ms`) });
  try {
    await host.startDaemon();
    await createVms(host);
    const polling = await watchLoop(host);
    const figures = await metrics(host);
    writeFileSync(`${host.dir}/config/banger/config.toml`, config('1d'));
    await host.killDaemon();
    await host.startDaemon();
    const idle = await watchLoop(host);
    const polls = windowMs / pollMs;
    const perPoll = (polling.cpuSeconds - idle.cpuSeconds) / polls;
    return { vms: count, windowMs, pollMs, polling, idle, cpuMsPerPoll: Math.round(perPoll * 1000), ...figures };
  } finally {
    const client = await host.rpc();
    const { vms } = await client.call('vm.list', {});
    await inTurns(vms.map((vm) => async () => { await client.call('vm.delete', { ref: vm.id }); }));
    client.close();
    await host.dispose();
  }
}

/** Eight at once. */
async function inTurns(work: (() => Promise<void>)[]): Promise<void> {
  await Promise.all(Array.from({ length: 8 }, async () => {
    for (let next = work.pop(); next !== undefined; next = work.pop()) await next();
  }));
}

async function createVms(host: Host): Promise<void> {
  const client = await host.rpc();
  await inTurns(Array.from({ length: count }, (_, n) => async () => { await client.call('vm.create', { name: `vm-${n}` }); }));
  client.close();
}

async function watchLoop(host: Host): Promise<Measured> {
  const client = await host.rpc();
  // Boot, recovery and the first round are not what is measured.
  await delay(pollMs / 2);
  const before = await client.callAny('bench.measure', {}) as Measured;
  await delay(windowMs);
  const after = await client.callAny('bench.measure', {}) as Measured;
  client.close();
  return { cpuSeconds: Math.round((after.cpuSeconds - before.cpuSeconds) * 1000) / 1000, delayMs: after.delayMs };
}

async function metrics(host: Host): Promise<Record<string, unknown>> {
  const client = await host.rpc();
  let bytes = 0;
  const ask = (): Promise<number> => timed(async () => { bytes = (await client.call('stats.metrics', {})).text.length; });
  // By itself: the daemon's code is not yet compiled then.
  const metricsTextFirstMs = await ask();
  const metricsText = await repeat(30, async () => {
    // The daemon keeps a text for a second.
    await delay(1100);
    return ask();
  });
  const statsOfAllWithoutWait = await repeat(10, async () => { await client.call('vm.stats', { wait: false }); });
  const statsOfAll = await repeat(5, async () => { await client.call('vm.stats', {}); });
  client.close();
  return { metricsTextFirstMs, metricsText, metricsBytes: bytes, statsOfAllWithoutWait, statsOfAll };
}

const many = await manyVms();
report('stats-poll', { many, oneVm: process.env['BENCH_NO_GUEST'] === undefined ? await oneVm() : 'left out' });
