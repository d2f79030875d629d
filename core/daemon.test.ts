// The whole daemon in this process, on the fake driver, over its real socket.
import { expect, onTestFinished, test } from 'vitest';
import { fakeDriverPlugins } from '../test/support/fake-driver.ts';
import { tempState } from '../test/support/vm-fixture.ts';
import { protocolVersion } from './api.ts';
import { startDaemon } from './daemon.ts';
import { resolvePaths } from './paths.ts';
import { connect } from './rpc/client.ts';
import type { RpcClient } from './rpc/client.ts';

async function boot(): Promise<() => Promise<RpcClient>> {
  const dir = tempState();
  const env = { XDG_STATE_HOME: dir, XDG_CACHE_HOME: dir, XDG_CONFIG_HOME: dir };
  const daemon = await startDaemon({ plugins: fakeDriverPlugins(), env });
  onTestFinished(() => daemon.close());
  return () => connect(resolvePaths(env).socket);
}
const hello = async (client: RpcClient): Promise<boolean> => (await client.call('rpc.hello', { protocol: protocolVersion, build: 'newer' })).idle;

test('is idle for a newer client only while no other is connected: a lease or a command would end with the restart', async () => {
  const open = await boot();
  const leaseholder = await open();
  const newer = await open();
  expect(await hello(newer)).toBe(false);
  leaseholder.close();
  await expect.poll(() => hello(newer), { timeout: 10_000 }).toBe(true);
});

test('is idle for a newer client that asks something else in the same breath', async () => {
  const client = await (await boot())();
  const [idle] = await Promise.all([hello(client), client.call('vm.list', {}), client.call('daemon.status', {})]);
  expect(idle).toBe(true);
});
