// Copies between host and guest that go past the daemon: who has the port, and what becomes of it when a side is gone or frozen.
import type { ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeHost, type Host } from '../support/host.ts';
import { waitFor } from '../support/wait.ts';

const draft = '.banger-copy-';
/** A copy of it can be met half-way. */
const longBytes = 400_000_000;
let host: Host;
let file: string;
let long: string;
beforeAll(async () => {
  host = await makeHost({ config: '[vm_defaults]\nvcpu = 1\nmemory_mib = 512\ninit = "agent"\n[plugins.copy]\nstall_timeout_seconds = 2\n' });
  file = join(host.dir, 'file');
  writeFileSync(file, randomBytes(20_000_000));
  long = join(host.dir, 'long');
  writeFileSync(long, Buffer.alloc(longBytes, 'zero'));
  await host.ok(['vm', 'run', '-d', '--name', 'one']);
});
afterAll(async () => {
  await host.dispose();
});

const inGuest = async (...words: string[]): Promise<string> => (await host.ok(['vm', 'exec', 'one', '--', ...words])).out;
const sum = (): string => createHash('sha256').update(readFileSync(file)).digest('hex');
const sumInGuest = async (path: string): Promise<string | undefined> => (await inGuest('sha256sum', path)).split(' ')[0];
const vmmPid = async (): Promise<number> => Number(readFileSync(join(host.stateDir, 'vms', (await host.vm('one')).id, 'qemu.pid'), 'utf8'));

function watch(child: ChildProcess): Promise<{ code: number | null; err: string }> {
  let err = '';
  child.stderr!.on('data', (chunk: Buffer) => { err += chunk.toString(); });
  return new Promise((resolve) => { child.on('close', (code) => resolve({ code, err })); });
}

/** The socket when this copy goes the direct way. Nobody attends it. */
async function askDirect(): Promise<string | undefined> {
  const client = await host.rpc();
  try {
    return (await client.call('vm.copy', { ref: 'one', direction: 'out', path: '/etc/hostname', direct: true })).direct?.socket;
  } finally {
    client.close();
  }
}

/** Copies the long file into the guest until the guest has a draft of it. */
async function begunIn(dir: string): Promise<{ child: ChildProcess; ended: ReturnType<typeof watch> }> {
  await inGuest('mkdir', '-p', dir);
  const child = host.spawnCli(['vm', 'cp', long, `one:${dir}`]);
  const ended = watch(child);
  await waitFor('the draft in the guest', async () => (await inGuest('ls', '-A', dir)).includes(draft));
  return { child, ended };
}

test('two copies at once are both whole', async () => {
  const [one, two] = await Promise.all([host.banger(['vm', 'cp', file, 'one:/root/first']), host.banger(['vm', 'cp', file, 'one:/root/second'])]);
  expect([one.err, two.err, one.code, two.code]).toEqual(['', '', 0, 0]);
  expect(await Promise.all(['/root/first', '/root/second'].map(sumInGuest))).toEqual([sum(), sum()]);
  const [backOne, backTwo] = [join(host.dir, 'back1'), join(host.dir, 'back2')];
  await Promise.all([host.ok(['vm', 'cp', 'one:/root/first', backOne]), host.ok(['vm', 'cp', 'one:/root/second', backTwo])]);
  for (const back of [backOne, backTwo]) expect(readFileSync(back).equals(readFileSync(file))).toBe(true);
  await inGuest('rm', '/root/first', '/root/second');
});

test('what a stranger says at the socket is nobody\'s copy', async () => {
  const id = (await host.vm('one')).id;
  const socket = connect(join(host.stateDir, 'vms', id, 'bulk.sock'));
  await new Promise((resolve) => { socket.once('connect', resolve); });
  socket.write(randomBytes(100_000));
  const copy = host.banger(['vm', 'cp', '/etc/hostname', 'one:/root/hostname']);
  await waitFor('the copy to wait behind the stranger', async () => (await inGuest('sh', '-c', 'cat /proc/[0-9]*/cmdline 2>/dev/null | tr "\\0" " "')).includes('receive --port'));
  socket.destroy();
  expect(await copy).toMatchObject({ code: 0, err: '' });
  expect(await inGuest('cat', '/root/hostname')).toBe(readFileSync('/etc/hostname', 'utf8'));
});

test('kill -9 of the command line leaves nothing in the guest, and the next copy goes through', async () => {
  const { child, ended } = await begunIn('/root/killed');
  child.kill('SIGKILL');
  await ended;
  await waitFor('the draft in the guest to go', async () => (await inGuest('ls', '-A', '/root/killed')) === '');
  await host.ok(['vm', 'cp', file, 'one:/root/killed/file']);
  expect(await sumInGuest('/root/killed/file')).toBe(sum());
});

test.each(['in', 'out'] as const)('a frozen VMM ends a copy %s in time, with the reason, and a later one goes through', async (direction) => {
  const target = join(host.dir, `frozen-${direction}`);
  mkdirSync(target);
  if (direction === 'out') await inGuest('sh', '-c', `head -c ${longBytes} /dev/zero >/root/long`);
  const ended = direction === 'in' ? (await begunIn('/root/frozen')).ended : watch(host.spawnCli(['vm', 'cp', 'one:/root/long', target]));
  if (direction === 'out') await waitFor('the draft on the host', () => readdirSync(target).some((name) => name.startsWith(draft)));
  const pid = await vmmPid();
  process.kill(pid, 'SIGSTOP');
  try {
    const verb = direction === 'in' ? 'take more for /root/frozen' : 'send more of /root/long';
    expect(await ended).toEqual({ code: 1, err: expect.stringContaining(`Gave up waiting for the guest of one to ${verb}`) as string });
    expect(readdirSync(target)).toEqual([]);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  await waitFor('the guest to answer again', async () => (await host.banger(['vm', 'exec', 'one', '--', 'true'])).code === 0 || undefined, 60_000);
  if (direction === 'in') await waitFor('the draft in the guest to go', async () => (await inGuest('ls', '-A', '/root/frozen')) === '');
  await host.ok(['vm', 'cp', '/etc/hostname', 'one:/root/after']);
});

// Last: what it begins holds the port until its ticket expires.
test('the port is one copy\'s, and free again when that one was never attended', async () => {
  await waitFor('the port to be free', async () => await askDirect() !== undefined || undefined, 120_000);
  expect(await askDirect()).toBeUndefined();
  await waitFor('the port to be free again', async () => await askDirect() !== undefined || undefined, 120_000);
});
