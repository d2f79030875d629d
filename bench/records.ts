// What 1,000 stopped VM records cost: vm list as a whole command, daemon start to first answer, resident memory.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { pairs, repeat, report } from './stats.ts';
import { makeHost, type Host } from '../test/support/host.ts';
import { isLive } from '../test/support/processes.ts';
import { repoRoot } from '../test/support/source-tree.ts';
import { waitFor } from '../test/support/wait.ts';

async function withRecords(count: number): Promise<Host> {
  const host = await makeHost();
  await host.startDaemon();
  const client = await host.rpc();
  for (let n = 0; n < count; n += 1) await client.call('vm.create', { name: `vm-${n}`, start: false });
  client.close();
  return host;
}

async function restart(host: Host): Promise<number> {
  const pid = await host.daemonPid();
  await host.ok(['daemon', 'stop']);
  if (pid !== undefined) await waitFor('the daemon to be gone', () => !isLive(pid));
  const began = performance.now();
  const child = spawn(join(repoRoot, 'bin', 'bangerd'), [], { env: host.env, stdio: 'ignore', detached: true });
  child.unref();
  for (;;) {
    const answered = await host.rpc().then(async (client) => {
      await client.call('vm.list', {});
      client.close();
      return true;
    }, () => false);
    if (answered) return performance.now() - began;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
const rssMiB = async (host: Host): Promise<number> => {
  const client = await host.rpc();
  const { memoryRssBytes } = await client.call('daemon.status', {});
  client.close();
  return Math.round(memoryRssBytes / 2 ** 20);
};

const few = await withRecords(10);
const many = await withRecords(1000);
try {
  const list = await pairs(15, async () => { await many.ok(['vm', 'list']); }, async () => { await few.ok(['vm', 'list']); });
  const startMany = await repeat(7, () => restart(many));
  const startFew = await repeat(7, () => restart(few));
  report('records', { list1000Over10: list, startToFirstAnswer1000: startMany, startToFirstAnswer10: startFew, rssMiB: { records10: await rssMiB(few), records1000: await rssMiB(many) } });
} finally {
  for (const host of [few, many]) await host.dispose();
}
