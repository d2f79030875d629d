// Commands that go on by themselves, on all VMs, and through login shells: on guests with the agent as PID 1 and beside systemd.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { KeptCommand } from '../../core/api.ts';
import { makeHost, type Host, type RunResult } from '../support/host.ts';
import { scratchImage } from '../support/scratch-image.ts';
import { waitFor } from '../support/wait.ts';

let host: Host;
beforeAll(async () => {
  host = await makeHost();
  await Promise.all([host.ok(['vm', 'run', '--name', 'one', '-d']), host.ok(['vm', 'run', '--name', 'two', '--init', 'image', '-d'])]);
});
afterAll(async () => {
  await host.dispose();
});

const exec = (vm: string, ...command: string[]): Promise<RunResult> => host.ok(['vm', 'exec', vm, '--', ...command]);
const detach = async (vm: string, ...command: string[]): Promise<string> => (await host.ok(['vm', 'exec', '-d', vm, '--', ...command])).out.trim();
const follow = (vm: string, id: string): Promise<RunResult> => host.banger(['vm', 'exec', 'logs', '-f', vm, id]);
const kept = async (vm: string, id: string): Promise<KeptCommand | undefined> =>
  (JSON.parse((await host.ok(['vm', 'exec', 'logs', vm, '--json'])).out) as { commands: KeptCommand[] }).commands.find((command) => command.id === id);
/** Runs until the file is there. */
const until = (file: string, then: string): string[] => ['sh', '-c', `echo begun; until [ -e ${file} ]; do sleep 0.05; done; ${then}`];

describe('a detached command', () => {
  test('goes on through kill -9 of the daemon; output and exit are right afterwards', async () => {
    const id = await detach('one', ...until('/tmp/go-1', 'echo "last words" >&2; exit 7'));
    expect(id).toMatch(/^[0-9a-f]{12}$/);
    await host.killDaemon();
    expect(await kept('one', id)).toMatchObject({ state: 'running', user: 'root' });
    await exec('one', 'touch', '/tmp/go-1');
    expect(await follow('one', id)).toMatchObject({ code: 7, out: 'begun\n', err: 'last words\n' });
    expect(await kept('one', id)).toMatchObject({ state: 'ended', exit: { code: 7 }, outputBytes: 17, droppedBytes: 0 });
    expect(await host.banger(['vm', 'exec', 'logs', 'one', id])).toMatchObject({ code: 0, out: 'begun\n', err: 'last words\n' });
    expect((await host.ok(['vm', 'exec', 'logs', 'one'])).out).toMatch(new RegExp(`^${id} +ended +7 +root +just now +sh -c `, 'm'));
  });

  test('is followed as it writes, and a follower that leaves does it no harm', async () => {
    const id = await detach('one', ...until('/tmp/go-2', 'kill -TERM $$'));
    const leaver = host.spawnCli(['vm', 'exec', 'logs', '-f', 'one', id]);
    const [first] = await new Promise<Buffer[]>((resolve) => leaver.stdout!.once('data', (chunk: Buffer) => resolve([chunk])));
    expect(first?.toString()).toBe('begun\n');
    leaver.kill('SIGKILL');
    const second = follow('one', id);
    await exec('one', 'touch', '/tmp/go-2');
    expect((await second).code).toBe(143);
    expect(await kept('one', id)).toMatchObject({ state: 'ended', exit: { signal: 'TERM' } });
  });

  test('keeps the last 8 MiB of 50 MB', async () => {
    const id = await detach('one', 'sh', '-c', 'head -c 50000000 /dev/zero; echo end');
    await waitFor('its end', async () => (await kept('one', id))?.state === 'ended');
    const { out, err } = await host.ok(['vm', 'exec', 'logs', 'one', id]);
    expect(out.endsWith('\0end\n')).toBe(true);
    expect(out.length).toBeLessThanOrEqual(8 << 20);
    expect(out.length).toBeGreaterThan(7 << 20);
    expect(err).toBe('banger: older output was dropped\n');
    expect(await kept('one', id)).toMatchObject({ outputBytes: 50_000_004 });
    expect(Number((await exec('one', 'du', '-sk', `/run/banger/exec/${id}`)).out.split('\t')[0])).toBeLessThan(8300);
  });

  test('has its environment, directory and user; others cannot read what it wrote', async () => {
    const words = ['vm', 'exec', '-d', '-u', 'nobody', '-e', 'GREETING=hello world', '--guest-path', '/var/tmp', 'one', '--'];
    const id = (await host.ok([...words, 'sh', '-c', 'id -un; pwd; echo "$GREETING"'])).out.trim();
    expect(await follow('one', id)).toMatchObject({ code: 0, out: 'nobody\n/var/tmp\nhello world\n' });
    expect(await kept('one', id)).toMatchObject({ user: 'nobody' });
    expect((await host.banger(['vm', 'exec', '-u', 'daemon', 'one', '--', 'ls', `/run/banger/exec/${id}`])).code).not.toBe(0);
  });

  test('that cannot start says so with the code of a shell', async () => {
    expect(await host.banger(['vm', 'exec', '-d', 'one', '--', 'no-such-program'])).toMatchObject({ code: 127, out: '', err: expect.stringContaining('no-such-program: not found') as string });
    expect((await host.banger(['vm', 'exec', '-d', 'one', '--', '/etc/passwd'])).code).toBe(126);
    expect((await host.banger(['vm', 'exec', '-d', '-w', '/nowhere', 'one', '--', 'true'])).code).toBe(126);
    expect(await host.banger(['vm', 'exec', 'logs', 'one', 'ffffffffffff'])).toMatchObject({ code: 125, err: 'banger: no kept command ffffffffffff\n' });
  });

  test("outlives the guest agent's own service", async () => {
    const id = await detach('two', ...until('/tmp/go-3', 'echo done'));
    const before = (await exec('two', 'systemctl', 'show', '-p', 'MainPID', 'banger-agent.service')).out;
    await detach('two', 'systemctl', 'restart', 'banger-agent.service');
    await waitFor('another agent', async () => {
      const { code, out } = await host.banger(['vm', 'exec', 'two', '--', 'systemctl', 'show', '-p', 'MainPID', 'banger-agent.service']);
      return code === 0 && out !== before;
    });
    expect(await kept('two', id)).toMatchObject({ state: 'running' });
    await exec('two', 'touch', '/tmp/go-3');
    expect(await follow('two', id)).toMatchObject({ code: 0, out: 'begun\ndone\n' });
  });
});

test('--login reads /etc/profile, attached and detached, and hands the words on as they are', async () => {
  await exec('one', 'sh', '-c', "echo 'export FROM_PROFILE=yes' > /etc/profile.d/banger-test.sh");
  expect((await host.banger(['vm', 'exec', 'one', '--', 'printenv', 'FROM_PROFILE'])).code).toBe(1);
  const words = ['sh', '-c', 'echo "$FROM_PROFILE $1"', 'sh', "it's $HOME"];
  expect((await host.ok(['vm', 'exec', '--login', 'one', '--', ...words])).out).toBe("yes it's $HOME\n");
  const id = (await host.ok(['vm', 'exec', '-l', '-d', 'one', '--', ...words])).out.trim();
  expect((await follow('one', id)).out).toBe("yes it's $HOME\n");
});

describe('--all', () => {
  test('runs on both, says whose each line is, and exits with the first failure in list order', async () => {
    const script = 'name=$(uname -n); echo "$name out"; echo "$name err" >&2; [ "$name" = one ] && { sleep 1; exit 3; }; exit 4';
    const { code, out, err } = await host.banger(['vm', 'exec', '--all', '--', 'sh', '-c', script]);
    const names = (JSON.parse((await host.ok(['vm', 'list', '--json'])).out) as { vms: { name: string }[] }).vms.map((vm) => vm.name);
    expect(code).toBe(names[0] === 'one' ? 3 : 4);
    expect(out.split('\n').toSorted()).toEqual(['', 'one | one out', 'two | two out']);
    expect(err).toMatch(/^one \| one err$/m);
    expect(err).toMatch(/^two \| two err$/m);
    expect(err).toMatch(/banger: ran on 2 VMs: 0 succeeded, 2 failed \((one: 3, two: 4|two: 4, one: 3)\)\n$/);
  });

  test('detaches on both', async () => {
    const { out } = await host.ok(['vm', 'exec', '--all', '-d', '--', 'uname', '-n']);
    const ids = Object.fromEntries(out.trim().split('\n').map((line) => line.split(' | ') as [string, string]));
    for (const name of ['one', 'two']) expect((await follow(name, ids[name]!)).out).toBe(`${name}\n`);
  });
});

test('a guest of one static program keeps commands as any other', async () => {
  await host.ok(['vm', 'run', '--name', 'tiny', '--image', scratchImage(), '-d']);
  const id = await detach('tiny', '/probe', 'raise', '15');
  expect((await follow('tiny', id)).code).toBe(143);
  const words = (await host.ok(['vm', 'exec', '-d', '--login', 'tiny', '--', '/probe', 'echo', "it's", 'here'])).out.trim();
  expect((await follow('tiny', words)).out).toBe("it's here\n");
  expect((await host.banger(['vm', 'exec', '-d', 'tiny', '--', 'sh', '-c', 'true'])).code).toBe(127);
  await host.ok(['vm', 'delete', 'tiny']);
});
