// `vm run --rm -- true` as a whole command against bare QEMU with the same kernel, initrd and disks, for both kinds of init.
import { bareQemu } from './bare-qemu.ts';
import { pairs, report } from './stats.ts';
import { makeHost } from '../test/support/host.ts';

const count = Number(process.env['BENCH_RUNS'] ?? 7);
const host = await makeHost();
try {
  await host.ok(['vm', 'list']);
  const figures: Record<string, unknown> = {};
  for (const init of ['agent', 'image']) {
    const baseline = await bareQemu(host, init);
    const result = await pairs(count, async () => { await host.ok(['vm', 'run', '--rm', '--init', init, '--', 'true']); }, () => baseline.measure());
    baseline.dispose();
    const client = await host.rpc();
    const { operations } = await client.call('daemon.operations.list', {});
    client.close();
    const last = operations.filter((op) => op.kind === 'vm.create').at(-1);
    figures[init] = { ...result, timelineMs: last?.timeline.map((entry) => [entry.name, Math.round(entry.atMs), Math.round(entry.durationMs ?? 0)]) };
  }
  report('vm-run', figures);
} finally {
  await host.dispose();
}
