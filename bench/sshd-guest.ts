// The baseline of the ways in: a guest with systemd and the image's own sshd, reached through a published port.
import { execFile, execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Host } from '../test/support/host.ts';

export interface SshdGuest {
  readonly name: string;
  /** Options of `ssh` for the guest's own sshd, host key known, without the destination. */
  readonly sshdOptions: readonly string[];
  /** `ssh` words that reach the guest's own sshd. */
  readonly sshd: readonly string[];
  /** `ssh` words that reach the VM through the daemon. */
  readonly daemon: readonly string[];
  dispose(): void;
}

/** An image like Debian's, with an ssh host key and our public key in it: sshd answers from the first boot. */
export function imageWithKeys(host: Host): { readonly path: string; readonly dir: string } {
  const dir = mkdtempSync(join(tmpdir(), 'banger-bench-'));
  execFileSync('chmod', ['0755', dir]);
  for (const key of ['host_key', 'client_key']) execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(dir, key)]);
  const images = join(host.stateDir, 'images');
  const manifest = (name: string): string => join(images, name, 'manifest.json');
  const debian = readdirSync(images).find((name) => existsSync(manifest(name)) && (JSON.parse(readFileSync(manifest(name), 'utf8')) as { name: string }).name === 'debian-bookworm');
  if (debian === undefined) throw new Error(`no Debian image in ${images}`);
  const path = join(dir, 'sshd.ext4');
  execFileSync('cp', ['--sparse=always', join(images, debian, 'rootfs.ext4'), path]);
  const script = join(dir, 'debugfs');
  copyFileSync(join(dir, 'client_key.pub'), join(dir, 'authorized_keys'));
  writeFileSync(script, [
    `write ${join(dir, 'host_key')} /etc/ssh/ssh_host_ed25519_key`, 'sif /etc/ssh/ssh_host_ed25519_key mode 0100600', 'sif /etc/ssh/ssh_host_ed25519_key uid 0',
    'mkdir /root/.ssh', 'sif /root/.ssh mode 040700', `write ${join(dir, 'authorized_keys')} /root/.ssh/authorized_keys`,
    'sif /root/.ssh/authorized_keys mode 0100600', '',
  ].join('\n'));
  execFileSync('debugfs', ['-w', '-f', script, path], { stdio: 'ignore' });
  return { path, dir };
}

/** The arguments for `vm create` are the caller's: `--publish <port>:22` and the image are the parts that matter. */
export async function describeGuest(host: Host, guest: { readonly name: string; readonly dir: string; readonly port: number }): Promise<SshdGuest> {
  const { name, dir, port } = guest;
  const client = await host.rpc();
  const { configFile } = await client.call('vm.ssh', { ref: name }) as { configFile: string };
  const { vm } = await client.call('vm.show', { ref: name });
  client.close();
  const { address } = vm.sections['usernet'] as { address: string };
  const known = join(dir, 'known_hosts');
  writeFileSync(known, `[${address}]:${port} ${execFileSync('ssh-keygen', ['-y', '-f', join(dir, 'host_key')], { encoding: 'utf8' })}`);
  const sshdOptions = [
    '-F', 'none', '-p', String(port), '-i', join(dir, 'client_key'), '-o', 'IdentitiesOnly=yes', '-o', `UserKnownHostsFile=${known}`,
    '-o', 'StrictHostKeyChecking=yes', '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=5',
  ];
  return {
    name, sshdOptions,
    sshd: ['ssh', ...sshdOptions, `root@${address}`],
    daemon: ['ssh', '-F', configFile, '-o', 'BatchMode=yes', `${name}.vm`],
    dispose: () => rmSync(dir, { recursive: true, force: true }),
  };
}

/** Runs `[program, ...args]` to its end, output thrown away. @throws when it exits with anything but 0 */
export async function run(words: readonly string[], timeoutMs = 300_000): Promise<void> {
  const [program, ...args] = words;
  if (program === undefined) throw new Error('nothing to run');
  await promisify(execFile)(program, args, { timeout: timeoutMs, maxBuffer: 64 * 2 ** 20 });
}

/** Tries until it works. @returns milliseconds since `began` (performance.now()) */
export async function firstSuccess(words: readonly string[], began: number, limitMs: number): Promise<number> {
  for (;;) {
    try {
      await run(words, 10_000);
      return performance.now() - began;
    } catch (error) {
      if (performance.now() - began > limitMs) throw error;
    }
  }
}

/** Waits until the guest has booted, and runs sshd as a service of its own: started by a socket, as the image has it, each connection would cost a start more. */
export async function standaloneSshd(host: Host, name: string): Promise<void> {
  await host.ok(['vm', 'exec', name, '--', 'sh', '-c', [
    'until systemctl is-system-running 2>/dev/null | grep -qE "running|degraded"; do sleep 0.2; done',
    'systemctl stop ssh.socket; systemctl restart ssh.service; systemctl is-active ssh.service',
  ].join('; ')]);
}
