// `vm run --rm` is a lease on the client: when the client is gone, so is the VM.
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ChildProcess } from 'node:child_process';
import { makeHost, type Host } from '../support/host.ts';
import { waitFor } from '../support/wait.ts';

let host: Host;
beforeAll(async () => {
  host = await makeHost();
});
afterAll(async () => {
  await host.dispose();
});

async function runUntilUp(name: string): Promise<ChildProcess> {
  const cli = host.spawnCli(['vm', 'run', '--rm', '--name', name, '--', 'sh', '-c', 'echo up; sleep 600']);
  let out = '';
  cli.stdout?.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  await waitFor('the command to run', () => out.includes('up'));
  return cli;
}
const gone = async (): Promise<boolean> => (JSON.parse((await host.ok(['vm', 'list', '--json'])).out) as { vms: unknown[] }).vms.length === 0
  && (await host.marked()).length === 0;

test('kill -9 of the CLI deletes the VM', async () => {
  (await runUntilUp('orphan')).kill('SIGKILL');
  await waitFor('the VM to be gone', gone, 30_000);
});

test('kill -9 of CLI and daemon together: the VM is gone within 10 s of the next start', async () => {
  const cli = await runUntilUp('both');
  const vmm = (await host.vm('both')).process!.pid;
  process.kill((await host.daemonPid())!, 'SIGKILL');
  cli.kill('SIGKILL');
  expect(() => process.kill(vmm, 0)).not.toThrow();
  await waitFor('the VM to be gone', gone, 10_000);
});

test('kill -9 of the CLI while the VM boots deletes it too', async () => {
  const cli = host.spawnCli(['vm', 'run', '--rm', '--name', 'early', '--', 'true']);
  await waitFor('the VMM', async () => (await host.marked()).length > 0);
  cli.kill('SIGKILL');
  await waitFor('the VM to be gone', gone, 30_000);
});
