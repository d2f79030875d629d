// What the plugin may touch, and how it stands in a daemon.
import { expect, test } from 'vitest';
import { fakeDriverPlugins } from '../../test/support/fake-driver.ts';
import { bootTestDaemon, makeCall, tempState } from '../../test/support/vm-fixture.ts';
import type { TestDaemon } from '../../test/support/vm-fixture.ts';
import { nullLog } from '../../core/log.ts';
import type { VmStats } from '../../core/api.ts';
import type { PluginDefinition } from '../../core/plugin-api.ts';
import { waitFor } from '../../test/support/wait.ts';
import stats from './plugin.ts';

test('it gets these capabilities and no other: above all not the VM service', () => {
  expect(stats.requires?.map(({ id }) => id).sort()).toEqual(['guest-agent@1', 'host-info@1', 'vm-teardown@1', 'vm-use@1', 'vms@1']);
  expect(stats.optional?.map(({ id }) => id).sort()).toEqual(['disk-files@1', 'port-forwards@1']);
});

const boot = (): Promise<TestDaemon> => bootTestDaemon({ dir: tempState(), plugins: () => [...fakeDriverPlugins(), stats as unknown as PluginDefinition] });
async function call<T>(daemon: TestDaemon, name: string, params: object): Promise<T> {
  const { method } = daemon.host.registrations.methods.find((one) => one.name === name)!;
  return method.result.parse(await method.handler(method.params.parse(params), makeCall({ log: nullLog }))) as T;
}
const statsOf = async (daemon: TestDaemon, params: object = {}): Promise<readonly VmStats[]> => (await call<{ stats: readonly VmStats[] }>(daemon, 'vm.stats', params)).stats;

test('VMs on the fake driver have figures of the host, and a reason where those of the guest would be', async () => {
  const daemon = await boot();
  const vm = await daemon.create({ name: 'devbox' });
  const [one] = await statsOf(daemon, { refs: ['devbox'] });
  expect(one).toMatchObject({
    vm: { id: vm.id, name: 'devbox' }, state: 'running', host: { threads: 1 }, problem: 'its guest agent is too old to tell: restart the VM', use: { holds: [] },
  });
  await daemon.call('vm.stop', { ref: vm.id });
  expect((await statsOf(daemon))[0]).toMatchObject({ state: 'stopped', stale: true, host: { threads: 1 } });
  expect((await call<{ text: string }>(daemon, 'stats.metrics', {})).text).toContain(`banger_vm_info{vm="devbox",vm_id="${vm.id}",driver="fake",image="fake"} 1\n`);
});

test('the poll finds VMs that ran before the daemon did', async () => {
  const dir = tempState();
  const plugins = (): PluginDefinition[] => [...fakeDriverPlugins(), stats as unknown as PluginDefinition];
  const before = await bootTestDaemon({ dir, plugins });
  await before.create({ name: 'devbox' });
  before.crash();
  await before.host.close();
  const after = await bootTestDaemon({ dir, plugins });
  await waitFor('the poll', async () => (await call<{ text: string }>(after, 'stats.metrics', {})).text.includes(`process_thread_count{vm="devbox"} 1`));
});
