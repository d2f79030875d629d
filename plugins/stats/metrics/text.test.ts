import { expect, test } from 'vitest';
import { figures, makeWorld } from '../testing/world.ts';
import { parseOpenMetrics } from '../testing/openmetrics.ts';
import { waitFor } from '../../../test/support/wait.ts';
import { collectMetrics } from './collect.ts';
import { families } from './families.ts';
import type { VmMetrics } from './families.ts';
import { metricsText, sharedText } from './text.ts';

const use = { of: () => ({ lastUsedAt: 5000, holds: ['x'] }) };
const vm: VmMetrics = {
  vm: { id: 'aaaaaaaaaaaa', name: 'devbox' }, driver: 'qemu', image: 'debian', state: 'running', disks: [{ id: 'root', allocatedBytes: 4096, virtualBytes: 8e9 }],
  use: { holds: [] }, uptimeSeconds: 60,
};

test('the text of VMs in every state is OpenMetrics, each family with unit and help', async () => {
  const world = makeWorld({ disks: { files: async () => [{ id: 'root', path: '/proc/self/exe', virtualBytes: 8e9 }] } });
  const [well, paused, off] = [await world.add('well'), await world.add('paused'), await world.add('off')];
  world.vms.pausedIds.add(paused.id);
  world.stop(off);
  await world.watch.round();
  world.asked[0]!.answer(figures());
  await waitFor('the answer', () => world.watch.known(well.id)?.problem === undefined);
  await waitFor('the disks', () => world.watch.known(well.id)!.disks.length > 0);
  const parsed = parseOpenMetrics(await metricsText(collectMetrics({ vms: world.vms, use, watch: world.watch })));
  expect([...parsed.keys()]).toEqual(families.map(({ name }) => name));
  expect([...parsed.values()].filter(({ help }) => help === undefined)).toEqual([]);
  const of = (family: string, name: string) => parsed.get(family)!.samples.filter(({ labels }) => labels['vm'] === name)
    .map(({ value, labels }) => [Object.fromEntries(Object.entries(labels).filter(([key]) => key !== 'vm')), value]);
  expect(of('system_cpu_time_seconds', 'well')).toEqual([[{ cpu_mode: 'busy' }, 10], [{ cpu_mode: 'idle' }, 90], [{ cpu_mode: 'steal' }, 1]]);
  expect(of('system_network_io_bytes', 'well')).toEqual([[{ network_io_direction: 'receive' }, 1000], [{ network_io_direction: 'transmit' }, 200]]);
  expect(of('banger_vm_answering', 'well')).toEqual([[{}, 1]]);
  expect(of('banger_vm_answering', 'paused')).toEqual([[{}, 0]]);
  expect(of('banger_vm_state', 'paused')).toEqual([[{ banger_vm_state: 'running' }, 0], [{ banger_vm_state: 'paused' }, 1], [{ banger_vm_state: 'stopped' }, 0]]);
  expect(of('process_cpu_time_seconds', 'well')[0]![1]).toBeGreaterThan(0);
  expect(of('system_uptime_seconds', 'paused')).toEqual([]);
  expect(of('process_uptime_seconds', 'off')).toEqual([]);
  expect(of('banger_vm_state', 'off')[2]).toEqual([{ banger_vm_state: 'stopped' }, 1]);
  expect(of('banger_vm_last_use_timestamp_seconds', 'well')).toEqual([[{}, 5]]);
});

test('whatever a name holds, it stays a label', async () => {
  const nasty = 'a"b\\c\nd} 1\n# EOF\n\u001b[2J\u202e';
  const parsed = parseOpenMetrics(await metricsText([{ ...vm, vm: { ...vm.vm, name: nasty }, image: nasty, disks: [{ ...vm.disks[0]!, id: nasty }] }]));
  expect(parsed.get('banger_vm')!.samples[0]!.labels).toMatchObject({ vm: nasty, image: nasty });
  expect(parsed.get('banger_vm_disk_size_bytes')!.samples[0]!.labels['disk']).toBe(nasty);
});

test('no VM at all is a text, too, and what is no number is left out', async () => {
  expect(parseOpenMetrics(await metricsText([])).size).toBe(families.length);
  const parsed = parseOpenMetrics(await metricsText([{ ...vm, uptimeSeconds: Number.NaN }]));
  expect(parsed.get('process_uptime_seconds')!.samples).toEqual([]);
});

test('names that OpenTelemetry has are written as its rules for this format say', () => {
  const conventions: Record<string, string> = {
    'process.cpu.time': 'process_cpu_time_seconds', 'process.memory.usage': 'process_memory_usage_bytes', 'process.thread.count': 'process_thread_count',
    'process.uptime': 'process_uptime_seconds', 'system.cpu.time': 'system_cpu_time_seconds', 'system.memory.limit': 'system_memory_limit_bytes',
    'system.memory.usage': 'system_memory_usage_bytes', 'system.memory.linux.available': 'system_memory_linux_available_bytes',
    'system.filesystem.limit': 'system_filesystem_limit_bytes', 'system.filesystem.usage': 'system_filesystem_usage_bytes',
    'system.network.io': 'system_network_io_bytes', 'system.uptime': 'system_uptime_seconds', 'system.cpu.load_average.1m': 'system_cpu_load_average_1m',
  };
  const foreign = families.map(({ name }) => name).filter((name) => !name.startsWith('banger_'));
  expect(foreign.sort()).toEqual(Object.values(conventions).sort());
});

test('making text for many VMs leaves other work its turn', async () => {
  const many = Array.from({ length: 3000 }, (_, n): VmMetrics => ({ ...vm, vm: { id: String(n), name: `vm${n}` }, host: { cpuSeconds: 1, rssBytes: 2, threads: 3 } }));
  let turns = 0;
  let isDone = false;
  const count = (): void => {
    turns += 1;
    if (!isDone) setImmediate(count);
  };
  setImmediate(count);
  const text = await metricsText(many);
  isDone = true;
  expect(turns).toBeGreaterThan(3);
  expect(parseOpenMetrics(text).get('banger_vm')!.samples).toHaveLength(3000);
});

test('who asks while a text is made, or just after, gets the same; a failure is not kept', async () => {
  let made = 0;
  const text = sharedText(async () => {
    made += 1;
    if (made === 1) throw new Error('once');
    return `text ${made}`;
  }, 20);
  await expect(text()).rejects.toThrow('once');
  expect(await Promise.all([text(), text(), text()])).toEqual(['text 2', 'text 2', 'text 2']);
  await waitFor('a new one', async () => (await text()) === 'text 3');
});
