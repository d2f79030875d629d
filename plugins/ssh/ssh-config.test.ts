// The configuration as OpenSSH's own ssh understands it.
import { execFileSync, spawnSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createExec } from '../../core/exec.ts';
import { clientsWarnOfWeakCrypto, configWord, includeLine, openSshVersion, sshConfigText, stanzaText } from './ssh-config.ts';
import type { SshConfigParts } from './ssh-config.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'banger-ssh-config-'));
});
afterEach(() => rm(dir, { recursive: true }));

const parts = (base: string, more: Partial<SshConfigParts> = {}): SshConfigParts => ({
  proxy: `${base}/ssh-proxy`, launcher: `${base}/banger`, socket: `${base}/ssh.sock`, identityFile: `${base}/id_ed25519`,
  knownHostsFile: `${base}/known_hosts`, env: {}, warnsOfWeakCrypto: false, ...more,
});
/** What ssh makes of the file for a host: keyword to values. */
function effective(config: string, host: string): Map<string, string> {
  const text = execFileSync('ssh', ['-G', '-F', config, host], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  return new Map(text.trim().split('\n').map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)]));
}
const written = async (text: string): Promise<string> => {
  await writeFile(join(dir, 'config'), text, { mode: 0o600 });
  return join(dir, 'config');
};

describe('the configuration', () => {
  test('is accepted, and says what it is meant to say', async () => {
    const config = effective(await written(sshConfigText(parts('/b'))), 'devbox.vm');
    expect(Object.fromEntries(config)).toMatchObject({
      user: 'root', proxyusefdpass: 'yes', identityfile: '/b/id_ed25519', identitiesonly: 'yes', userknownhostsfile: '/b/known_hosts',
      globalknownhostsfile: '/dev/null', stricthostkeychecking: 'true', hostkeyalgorithms: 'ssh-ed25519', updatehostkeys: 'false',
      forwardagent: 'no', forwardx11: 'no', proxycommand: "/b/ssh-proxy --fdpass --start /b/banger /b/ssh.sock '%h'",
    });
    expect(config.get('ciphers')).toMatch(/^aes128-gcm@openssh\.com,/);
    // What is said of failed forwards is at level INFO.
    expect(config.get('loglevel')).toBe('INFO');
  });

  test('leaves other hosts alone', async () => {
    const empty = await written('');
    const before = effective(empty, 'example.org');
    expect(effective(await written(sshConfigText(parts('/b'))), 'example.org')).toEqual(before);
  });

  test('is for no host name that could end the quotes around it', async () => {
    const config = await written(sshConfigText(parts('/b')));
    const odd = spawnSync('ssh', ['-G', '-F', config, "a'$(x)'.vm"], { encoding: 'utf8' });
    expect(odd.stdout).not.toContain('ssh-proxy');
  });

  test('of one VM answers to both of its names and leads to the same one', async () => {
    const config = await written(stanzaText(parts('/b'), 'devbox'));
    for (const host of ['devbox', 'devbox.vm']) expect(effective(config, host).get('hostname')).toBe('devbox.vm');
    expect(effective(config, 'devbox').get('identityfile')).toBe('/b/id_ed25519');
    expect(effective(config, 'other.vm').get('proxycommand')).toBeUndefined();
  });

  test('has a word that older clients refuse only when told that all know it', () => {
    expect(sshConfigText(parts('/b'))).not.toContain('WarnWeakCrypto');
    expect(sshConfigText(parts('/b', { warnsOfWeakCrypto: true }))).toContain('  WarnWeakCrypto no-pq-kex\n');
  });

  test('refuses a path with a line break, which could add lines of its own', () => {
    expect(() => sshConfigText(parts('/a\nProxyCommand evil'))).toThrow(/cannot be named/);
  });
});

describe.each(['plain', 'with space', "quo'te", 'per%cent %h', 'dollar $HOME `id`', 'dou"ble', 'back\\slash', 'glob *?[a]', 'größe'])('a directory named %j', (name) => {
  test('is reached by the proxy command and the files', async () => {
    const base = join(dir, name);
    await mkdir(base);
    const record = join(dir, 'said');
    await writeFile(join(base, 'ssh-proxy'), `#!/bin/sh\nprintf '%s\\n' "$@" >'${record}'\n`);
    await chmod(join(base, 'ssh-proxy'), 0o755);
    const config = await written(sshConfigText(parts(base, { env: { XDG_STATE_HOME: `${base}/state` } })));
    spawnSync('ssh', ['-F', config, '-o', 'BatchMode=yes', 'devbox.vm', 'true'], { stdio: 'ignore', timeout: 30_000 });
    expect((await readFile(record, 'utf8')).trim().split('\n')).toEqual([
      '--fdpass', '--start', `${base}/banger`, '--env', `XDG_STATE_HOME=${base}/state`, `${base}/ssh.sock`, 'devbox.vm',
    ]);
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(base, 'id_ed25519')]);
    const debug = spawnSync('ssh', ['-v', '-F', config, '-o', 'ProxyCommand=true', '-o', 'ProxyUseFdpass=no', 'devbox.vm', 'true'], { encoding: 'utf8', timeout: 30_000 });
    // ssh says type 3 for an ed25519 key that it found, and -1 for a file that is not there.
    expect(debug.stderr).toMatch(/identity file .*id_ed25519 type 3/);
  });

  test('can be included, or is said not to be', async () => {
    const base = join(dir, name);
    await mkdir(base);
    await writeFile(join(base, 'config'), 'Host x.vm\n  User included\n', { mode: 0o600 });
    const line = includeLine(join(base, 'config'));
    const user = line === undefined ? 'none' : effective(await written(`${line}\n`), 'x.vm').get('user');
    expect(user).toBe(/[%$"\\]/.test(name) ? 'none' : 'included');
  });
});

test('a word for the configuration keeps its percent signs', () => {
  expect(configWord('/a%b/c d')).toBe('"/a%%b/c d"');
});

describe("the clients' versions", () => {
  test.each([
    ['OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19', [9, 2]], ['OpenSSH_10.1p1, LibreSSL', [10, 1]], ['Dropbear v2022.83', undefined], ['', undefined],
  ])('%s', (text, version) => expect(openSshVersion(text)).toEqual(version));

  test.each([
    [['10.1p1'], true], [['10.2p1', '11.0'], true], [['10.0p2'], false], [['10.1p1', '9.2p1'], false], [['10.1p1', 'none'], false], [[], false],
  ])('%j: all are new enough: %s', async (versions, expected) => {
    const files = await Promise.all(versions.map(async (version, index) => {
      const file = join(dir, `ssh${index}`);
      await writeFile(file, version === 'none' ? '#!/bin/sh\nexit 1\n' : `#!/bin/sh\necho OpenSSH_${version} >&2\n`, { mode: 0o755 });
      return file;
    }));
    expect(await clientsWarnOfWeakCrypto(createExec(), [...files, join(dir, 'missing')])).toBe(expected);
  });
});
