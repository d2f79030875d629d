// What ssh clients on this host need: our key, the VMs' host keys, the configuration that leads to the daemon's gate.
import { join, resolve } from 'node:path';
import type { Exec, HostInfo, Logger, Vms } from '../../core/plugin-api.ts';
import { gatePath } from './gate.ts';
import { expandHostPath } from './host-path.ts';
import { ensureClientKey, writeWhenDifferent } from './keys.ts';
import type { ClientKey } from './keys.ts';
import { createKnownHosts } from './known-hosts.ts';
import type { KnownHosts } from './known-hosts.ts';
import type { SshConfig } from './schema.ts';
import { clientsWarnOfWeakCrypto, daemonVariables, sshConfigText } from './ssh-config.ts';
import type { SshConfigParts } from './ssh-config.ts';

export interface ClientSide {
  readonly clientKey: ClientKey;
  readonly knownHosts: KnownHosts;
  /** Absolute. */
  readonly configFile: string;
  /** Resolves when the configuration is written. @throws operation_failed when it cannot be */
  parts(): Promise<SshConfigParts>;
  /** Waits for writes under way. */
  close(): Promise<void>;
}
export interface ClientSideDeps {
  /** The plugin's state directory. */
  readonly dir: string;
  readonly config: Pick<SshConfig, 'key_path'>;
  readonly exec: Exec;
  readonly host: HostInfo;
  readonly vms: Vms;
  readonly log: Logger;
  /** The daemon's. @default process.env */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** Name of the file in the plugin's state directory. */
export const configFileName = 'config';

/** Keys and host keys are there when it resolves; the configuration follows, as asking the clients' versions takes a moment. */
export async function createClientSide(deps: ClientSideDeps): Promise<ClientSide> {
  const { dir, config, vms, log } = deps;
  const clientKey = await ensureClientKey(dir, config.key_path === undefined ? undefined : expandHostPath(config.key_path));
  const knownHosts = createKnownHosts({ dir, vms, log });
  await knownHosts.refresh();
  const unfollow = knownHosts.follow();
  const configFile = join(dir, configFileName);
  const written = writeConfig(deps, configFile, { identityFile: clientKey.privateKeyPath, knownHostsFile: knownHosts.file });
  written.catch((error: unknown) => log.warn({ err: error, file: configFile }, 'the ssh configuration cannot be written'));
  return {
    clientKey, knownHosts, configFile,
    parts: () => written,
    async close() {
      await unfollow();
      await written.catch(() => undefined); // logged above
    },
  };
}

async function writeConfig(
  { exec, host, env = process.env }: ClientSideDeps, file: string, files: Pick<SshConfigParts, 'identityFile' | 'knownHostsFile'>): Promise<SshConfigParts> {
  const set = daemonVariables.flatMap((name) => (env[name] ? [[name, env[name]] as const] : []));
  const parts: SshConfigParts = {
    ...files,
    proxy: join(host.nativeDir, 'ssh-proxy'),
    launcher: resolve(host.nativeDir, '..', '..', 'bin', 'banger'),
    socket: gatePath(host),
    env: Object.fromEntries(set),
    warnsOfWeakCrypto: await clientsWarnOfWeakCrypto(exec),
  };
  await writeWhenDifferent(file, sshConfigText(parts), 0o600);
  return parts;
}
