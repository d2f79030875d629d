// The way in for people and their tools: `vm ssh`, the configuration for plain ssh, host keys that are known and hold. OpenSSH's own
// programs on this side, a real guest on the other.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { makeHost, type Host, type RunResult } from '../support/host.ts';
import { repoRoot } from '../support/source-tree.ts';
import { waitFor } from '../support/wait.ts';

vi.setConfig({ testTimeout: 60_000 });
let host: Host;
let plugin: string;
beforeAll(async () => {
  host = await makeHost();
  plugin = join(host.stateDir, 'plugins', 'ssh');
  await host.ok(['vm', 'run', '--name', 'devbox', '-d']);
});
afterAll(async () => {
  await host.dispose();
});

const banger = (...args: string[]): Promise<RunResult> => host.banger(args, { timeoutMs: 60_000 });
const vmSsh = (...command: string[]): Promise<RunResult> => banger('vm', 'ssh', 'devbox', '--', ...command);

/** Plain ssh, with a configuration file. ssh goes by the list of users for the home, so -F stands for HOME. */
function ssh(config: string, ...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn('ssh', ['-F', config, '-o', 'BatchMode=yes', ...args], { env: host.env, stdio: ['ignore', 'pipe', 'pipe'] });
    let [out, err] = ['', ''];
    child.stdout.on('data', (chunk) => { out += String(chunk); });
    child.stderr.on('data', (chunk) => { err += String(chunk); });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out, err }));
  });
}
const config = (): string => join(plugin, 'config');

describe('vm ssh with a command', () => {
  test('gives output, errors, stdin and exit code as they are, and says nothing of its own', async () => {
    const { code, out, err } = await host.banger(['vm', 'ssh', 'devbox', '--', 'sh', '-c', 'cat; echo two >&2; exit 7'], { input: 'one\n' });
    expect([code, out, err]).toEqual([7, 'one\n', 'two\n']);
  });

  test('hands on each word exactly, as vm exec does', async () => {
    const words = ['a b', '', "it's", '"', '\\', '\\n', '$HOME', '`id`', '*', '~', '{a,b}', 'x=y', 'a\nb', '!!', '#', '-n', '--', ';', 'ü', ' '];
    const command = ['printf', '<%s>', ...words];
    const [bySsh, byExec] = [await vmSsh(...command), await banger('vm', 'exec', 'devbox', '--', ...command)];
    expect([bySsh.code, bySsh.out]).toEqual([0, words.map((word) => `<${word}>`).join('')]);
    expect(bySsh.out).toBe(byExec.out);
  });

  test('a first word that is a keyword of shells is a program that is not there', async () => {
    expect((await vmSsh('if', 'true')).code).toBe(127);
  });

  test('the user is root unless told otherwise', async () => {
    expect((await vmSsh('id', '-un')).out).toBe('root\n');
    await host.ok(['vm', 'exec', 'devbox', '--', 'sh', '-c', 'echo ann:x:1234:1234::/tmp:/bin/sh >>/etc/passwd']);
    const { out } = await banger('vm', 'ssh', '-u', 'ann', 'devbox', '--', 'id', '-un');
    expect(out).toBe('ann\n');
  });

  test('forwards a port while it runs', async () => {
    const child = host.spawnCli(['vm', 'ssh', '-L', `${join(host.dir, 'local.sock')}:${'/run/test.sock'}`, 'devbox', '--', 'cat']);
    await waitFor('the local end', () => existsSync(join(host.dir, 'local.sock')));
    child.stdin!.end();
    await waitFor('ssh to end', () => child.exitCode !== null);
    expect(child.exitCode).toBe(0);
  });

  test('killed, it takes ssh and the command with it', async () => {
    const child = host.spawnCli(['vm', 'ssh', 'devbox', '--', 'sh', '-c', 'echo up; exec sleep 4242']);
    await new Promise((resolve) => child.stdout!.once('data', resolve));
    child.kill('SIGTERM');
    await waitFor('the CLI to end', () => child.exitCode !== null);
    // ssh ends itself in good order.
    expect(child.exitCode).toBe(255);
    await waitFor('the command to be gone', async () => !(await vmSsh('sh', '-c', 'cat /proc/[0-9]*/comm 2>/dev/null')).out.split('\n').includes('sleep'));
  });
});

test('a shell in a terminal: its size, its exit code, and one line about the VM that still runs', async () => {
  const command = `stty rows 33 cols 101; exec ${join(repoRoot, 'bin', 'banger')} vm ssh devbox`;
  const child = spawn('script', ['-qec', command, '/dev/null'], { env: { ...host.env, TERM: 'xterm' }, stdio: ['pipe', 'pipe', 'inherit'] });
  let screen = '';
  child.stdout.on('data', (chunk) => { screen += String(chunk); });
  const code = new Promise((resolve) => child.on('close', resolve));
  child.stdin.write("echo size=$(stty size) tty=$(tty) prompt; exit 6\n");
  expect(await code).toBe(6);
  expect(screen).toMatch(/size=33 101 tty=\/dev\/pts\/\d+ prompt/);
  expect(screen).toMatch(/VM devbox still runs: banger vm stop devbox\r\n$/);
});

describe('errors', () => {
  test.each([
    [['vm', 'ssh', 'nosuch', '--', 'true'], 'No VM matches nosuch'],
    [['vm', 'ssh-config', 'nosuch'], 'No VM matches nosuch'],
  ])('%j', async (args, message) => {
    const { code, err, out } = await banger(...args);
    expect([code === 0, out]).toEqual([false, '']);
    expect(err).toContain(message);
  });

  test('a VM that does not run is told from one that does not exist, by vm ssh and by plain ssh', async () => {
    await host.ok(['vm', 'create', '--name', 'idle', '--no-start']);
    const own = await banger('vm', 'ssh', 'idle', '--', 'true');
    expect([own.code, own.err]).toEqual([125, expect.stringContaining('VM idle is not running') as string]);
    const plain = await ssh(config(), 'idle.vm', 'true');
    expect([plain.code, plain.err]).toEqual([255, expect.stringMatching(/^banger: VM idle is not running/) as string]);
    const none = await ssh(config(), 'nosuch.vm', 'true');
    expect([none.code, none.err]).toEqual([255, expect.stringMatching(/^banger: No VM matches nosuch/) as string]);
    const { out, code } = await banger('vm', 'ssh-config', 'idle');
    expect([code, out.split('\n')[0]]).toEqual([0, 'Host idle.vm idle']);
    await host.ok(['vm', 'delete', 'idle']);
  });
});

test("without ssh in PATH the agent's terminal does it, and says so", async () => {
  const bin = join(host.dir, 'bin');
  mkdirSync(bin);
  for (const name of ['sh', 'readlink', 'env']) symlinkSync(spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).stdout.trim(), join(bin, name));
  const env = { PATH: bin };
  const { code, out, err } = await host.banger(['vm', 'ssh', 'devbox', '--', 'sh', '-c', 'cat; exit 3'], { env, input: 'in\n' });
  expect([code, out, err]).toEqual([3, 'in\n', "note: there is no ssh in PATH; this is the guest agent's own terminal\n"]);
  const refused = await host.banger(['vm', 'ssh', '-A', 'devbox', '--', 'true'], { env });
  expect([refused.code, refused.err]).toEqual([125, expect.stringContaining('--forward-agent needs it') as string]);
});

describe('ssh-config', () => {
  test('installed, the person\'s ssh reaches the VM by name; taken back, the file is what it was', async () => {
    const own = 'Host *\n  ServerAliveInterval 7\n  User someone';
    const file = join(host.dir, '.ssh', 'config');
    mkdirSync(join(host.dir, '.ssh'), { mode: 0o700 });
    writeFileSync(file, own, { mode: 0o640 });
    expect((await host.ok(['ssh-config'])).out).toContain('no: banger ssh-config --install');
    await host.ok(['ssh-config', '--install']);
    const installed = readFileSync(file, 'utf8');
    await host.ok(['ssh-config', '--install']);
    expect(readFileSync(file, 'utf8')).toBe(installed);
    expect((await host.ok(['ssh-config'])).out).toContain(`yes, in ${file}`);
    const { code, out, err } = await ssh(file, 'devbox.vm', 'id -un; exit 5');
    expect([code, out, err]).toEqual([5, 'root\n', '']);
    await host.ok(['ssh-config', '--uninstall']);
    expect([readFileSync(file, 'utf8'), statSync(file).mode & 0o777]).toEqual([own, 0o640]);
    expect(readdirSync(join(host.dir, '.ssh'))).toEqual(['config']);
  });

  test('the stanza of one VM works by itself, under both names', async () => {
    const file = join(host.dir, 'devbox.conf');
    writeFileSync(file, (await host.ok(['vm', 'ssh-config', 'devbox'])).out);
    for (const name of ['devbox', 'devbox.vm']) expect((await ssh(file, name, 'echo hello')).out).toBe('hello\n');
  });

  test('without the descriptor passed, the proxy carries the bytes', async () => {
    const file = join(host.dir, 'relay.conf');
    writeFileSync(file, readFileSync(config(), 'utf8').replace(' --fdpass ', ' ').replace('ProxyUseFdpass yes', 'ProxyUseFdpass no'));
    const { code, out } = await ssh(file, 'devbox.vm', 'head -c 3000000 /dev/zero | tr "\\0" x; exit 9');
    expect([code, out.length]).toEqual([9, 3_000_000]);
  });

  test('ssh starts the daemon when none runs', async () => {
    await host.killDaemon();
    const { code, out, err } = await ssh(config(), 'devbox.vm', 'echo back');
    expect([code, out, err]).toEqual([0, 'back\n', '']);
    expect(await host.daemonPid()).toBeGreaterThan(0);
  });
});

describe('the host key', () => {
  const find = (): string => spawnSync('ssh-keygen', ['-F', 'devbox.vm', '-f', join(plugin, 'known_hosts')], { encoding: 'utf8' }).stdout;
  const keyFile = async (): Promise<string> => join(host.stateDir, 'vms', (await host.vm('devbox')).id, 'ssh_host_ed25519_key');

  test('lies outside of the guest, for its owner only, and ssh knew it before it first connected', async () => {
    expect(statSync(await keyFile()).mode & 0o777).toBe(0o600);
    const effective = spawnSync('ssh', ['-G', '-F', config(), 'devbox.vm'], { encoding: 'utf8' }).stdout;
    expect(effective).toContain('stricthostkeychecking true');
    expect(find()).toContain('devbox.vm,devbox ssh-ed25519 ');
    expect(existsSync(join(host.dir, '.ssh', 'known_hosts'))).toBe(false);
  });

  test('changed behind our back, it is refused', async () => {
    const key = await keyFile();
    renameSync(key, `${key}.kept`);
    spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', key]);
    const { code, err } = await ssh(config(), 'devbox.vm', 'true');
    expect([code, err]).toEqual([255, expect.stringContaining('REMOTE HOST IDENTIFICATION HAS CHANGED') as string]);
    renameSync(`${key}.kept`, key);
    expect((await ssh(config(), 'devbox.vm', 'true')).code).toBe(0);
  });

  test('goes with its VM, and its row with it', async () => {
    const key = await keyFile();
    await host.ok(['vm', 'delete', 'devbox']);
    expect(existsSync(key)).toBe(false);
    await waitFor('the row to go', () => find() === '');
  });
});
