// The ssh configuration for `Host *.vm`, and the stanza of one VM: the same options.
import type { Exec } from '../../core/plugin-api.ts';
import { operationFailed } from '../../core/plugin-api.ts';

export interface SshConfigParts {
  /** All absolute. */
  readonly proxy: string;
  readonly launcher: string;
  readonly socket: string;
  readonly identityFile: string;
  readonly knownHostsFile: string;
  /** What the daemon was started with, for the one that the proxy starts. */
  readonly env: Readonly<Record<string, string>>;
  /** The clients of this host know `WarnWeakCrypto` (OpenSSH 10.1). */
  readonly warnsOfWeakCrypto: boolean;
}

/** These decide where a daemon keeps its state and finds its configuration. */
export const daemonVariables = ['XDG_STATE_HOME', 'XDG_CACHE_HOME', 'XDG_CONFIG_HOME', 'BANGER_CONFIG'] as const;

/** The user ssh logs in as unless told otherwise. */
export const defaultUser = 'root';

/** For the file that people include. A quote in a host name could end ours around %h, so such names are none of ours. */
export function sshConfigText(parts: SshConfigParts): string {
  return [
    "# Written by banger for the VMs of this user; changes to it are lost. `banger ssh-config --install` includes it in ~/.ssh/config.",
    `Host *.vm "!*'*"`,
    ...options(parts), '',
  ].join('\n');
}

/** For one VM, by its name with and without `.vm`: for `ssh -F`, or for a configuration of one's own. */
export function stanzaText(parts: SshConfigParts, name: string): string {
  return [`Host ${name}.vm ${name}`, `  HostName ${name}.vm`, ...options(parts), ''].join('\n');
}

function options(parts: SshConfigParts): string[] {
  const lines = [
    `User ${defaultUser}`,
    `ProxyCommand ${proxyCommand(parts)}`,
    'ProxyUseFdpass yes',
    `IdentityFile ${configWord(parts.identityFile)}`,
    'IdentitiesOnly yes',
    'AddKeysToAgent no',
    'PreferredAuthentications publickey',
    `UserKnownHostsFile ${configWord(parts.knownHostsFile)}`,
    'GlobalKnownHostsFile /dev/null',
    'StrictHostKeyChecking yes',
    'CheckHostIP no',
    'VerifyHostKeyDNS no',
    'UpdateHostKeys no',
    'HostKeyAlgorithms ssh-ed25519',
    // The server's fastest first; every one of them is in any OpenSSH since 6.2, so that none refuses the line.
    'Ciphers aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,aes256-ctr',
    'Compression no',
    // A guest is not trusted: what it gets of the person's is asked for by name, as with -A.
    'ForwardAgent no',
    'ForwardX11 no',
    // The daemon may have to be started first.
    'ConnectTimeout 45',
    // An older client refuses a file with a word it does not know, for all hosts, and IgnoreUnknown would take the place of the user's own.
    ...(parts.warnsOfWeakCrypto ? ['WarnWeakCrypto no-pq-kex'] : []),
  ];
  return lines.map((line) => `  ${line}`);
}

/** ssh gives the line to the user's shell, after its own percent signs. */
function proxyCommand(parts: SshConfigParts): string {
  const env = Object.entries(parts.env).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
  const words = [parts.proxy, '--fdpass', '--start', parts.launcher, ...env, parts.socket];
  return [...words.map((word) => shellWord(requireOneLine(word)).replaceAll('%', '%%')), "'%h'"].join(' ');
}

/** For any shell: plain words stay readable, others get single quotes. */
export function shellWord(word: string): string {
  return /^[A-Za-z0-9_./=:,@+-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

/** A file name as ssh_config(5) reads it: quoted, and with its percent signs meant as such. */
export function configWord(path: string): string {
  const escaped = requireOneLine(path).replaceAll('%', '%%').replaceAll('\\', String.raw`\\`).replaceAll('"', String.raw`\"`);
  return /^[A-Za-z0-9_./%@+:,-]+$/.test(escaped) ? escaped : `"${escaped}"`;
}

function requireOneLine(path: string): string {
  if (/[\r\n]/.test(path)) throw operationFailed(`${JSON.stringify(path)} cannot be named in an ssh configuration`, { hint: 'move it to a path without line breaks' });
  return path;
}

/**
 * The `Include` line for the file. ssh reads the path as a pattern. `undefined`: it has characters that clients read differently
 * depending on their version.
 */
export function includeLine(file: string): string | undefined {
  if (/[%$"\\\r\n]/.test(file)) return undefined;
  const escaped = file.replaceAll(/[*?[\]]/g, (char) => `\\${char}`);
  return `Include ${/^[A-Za-z0-9_./@+:,-]+$/.test(escaped) ? escaped : `"${escaped}"`}`;
}

const versionTimeoutMs = 5000;

/** Whether every ssh client found on this host is OpenSSH 10.1 or newer. One that cannot be asked counts as older. */
export async function clientsWarnOfWeakCrypto(exec: Pick<Exec, 'find' | 'run'>, candidates: readonly string[] = ['ssh', '/usr/bin/ssh', '/usr/local/bin/ssh']): Promise<boolean> {
  const found = await Promise.all(candidates.map((candidate) => exec.find(candidate)));
  const programs = [...new Set(found.filter((program) => program !== undefined))];
  const versions = await Promise.all(programs.map(async (program) => {
    try {
      const { stdout, stderr } = await exec.run(program, ['-V'], { timeoutMs: versionTimeoutMs });
      return openSshVersion(stdout + stderr);
    } catch {
      return undefined; // no OpenSSH, then
    }
  }));
  return versions.length > 0 && versions.every((version) => version !== undefined && (version[0] > 10 || (version[0] === 10 && version[1] >= 1)));
}

/** Of the words of `ssh -V`. */
export function openSshVersion(text: string): readonly [number, number] | undefined {
  const match = /^OpenSSH_(\d+)\.(\d+)/m.exec(text);
  return match ? [Number(match[1]), Number(match[2])] : undefined;
}
