// OpenSSH's own programs against the server; the guest is this host.
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { ask, askBySocks, freePort } from '../../test/support/ssh-tools.ts';
import { waitFor } from '../../test/support/wait.ts';
import { makeWorld } from '../../test/support/ssh-world.ts';
import type { World } from '../../test/support/ssh-world.ts';

test('runs a command with its output apart, its input and its exit code', async () => {
  const world = await makeWorld();
  const result = await world.run('ssh', ['devbox.vm', 'cat; echo to-stderr >&2; exit 42'], { input: 'from here\n' });
  expect(result).toMatchObject({ code: 42, out: 'from here\n' });
  expect(result.err).toContain('to-stderr');
  expect(world.requests[0]).toMatchObject({ line: 'cat; echo to-stderr >&2; exit 42', user: 'tester', stdin: true });
  await waitFor('the connection to be let go', () => world.held() === 0);
});

test('reports the end by a signal as OpenSSH does', async () => {
  const world = await makeWorld();
  const killed = await world.run('ssh', ['-v', 'devbox.vm', 'kill -TERM $$']);
  expect(killed.code).toBe(255);
  expect(killed.err).toContain('exit-signal');
  // STKFLT, a signal that the RFC has no name for.
  expect((await world.run('ssh', ['devbox.vm', 'kill -16 $$'])).code).toBe(255);
});

test('carries 8 MiB each way whole, with every cipher', async () => {
  const world = await makeWorld();
  const data = randomBytes(8 * 1024 * 1024);
  const digest = createHash('sha256').update(data).digest('hex');
  for (const cipher of ['aes128-gcm@openssh.com', 'aes256-gcm@openssh.com', 'chacha20-poly1305@openssh.com', 'aes256-ctr']) {
    const { code, stdout } = await world.run('ssh', ['-c', cipher, 'devbox.vm', 'cat'], { input: data });
    expect({ cipher, code, digest: createHash('sha256').update(stdout).digest('hex') }).toEqual({ cipher, code: 0, digest });
  }
});

test('exchanges keys anew in the middle of a transfer', async () => {
  const world = await makeWorld();
  const data = randomBytes(6 * 1024 * 1024);
  const { code, stdout, err } = await world.run('ssh', ['-v', '-o', 'RekeyLimit=1M', 'devbox.vm', 'cat'], { input: data });
  expect({ code, isSame: stdout.equals(data) }).toEqual({ code: 0, isSame: true });
  expect(err.match(/rekeying in progress|enqueue packet|SSH2_MSG_KEXINIT sent/g)!.length).toBeGreaterThan(2);
});

test('offers modern algorithms only, and no compression', async () => {
  const world = await makeWorld();
  const { err } = await world.run('ssh', ['-vv', 'devbox.vm', 'true']);
  const peer = err.slice(err.indexOf('peer server KEXINIT proposal'));
  const list = (name: string): string | undefined => new RegExp(`${name}: (\\S*)`).exec(peer)?.[1];
  expect(list('KEX algorithms')).toBe('curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,kex-strict-s-v00@openssh.com');
  expect(list('host key algorithms')).toBe('ssh-ed25519');
  expect(list('ciphers stoc')).toBe('aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr');
  expect(list('MACs stoc')).toBe('hmac-sha2-256-etm@openssh.com');
  expect(list('compression stoc')).toBe('none');
  expect(err).toContain('remote software version banger');
  expect((await world.run('ssh', ['-o', 'KexAlgorithms=diffie-hellman-group14-sha1', 'devbox.vm', 'true'])).err).toContain('no matching key exchange method');
});

test('refuses a key that is not authorized, after as many attempts as allowed', async () => {
  const world = await makeWorld({ config: { max_auth_tries: 3 } });
  await world.run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(world.dir, 'other')]);
  const refused = await world.run('ssh', [...withKeys(world, [join(world.dir, 'other')]), 'true']);
  expect(refused.code).toBe(255);
  expect(refused.err).toContain('Permission denied (publickey)');
  expect(world.requests).toEqual([]);
  const files = ['a', 'b', 'c', 'd'].map((name) => join(world.dir, name));
  for (const file of files) await world.run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file]);
  const many = await world.run('ssh', [...withKeys(world, files), 'true']);
  expect(many.err).toContain('Too many authentication failures');
});

test.each(['rsa', 'ecdsa', 'ed25519'])('takes the %s key of the person when a file names it', async (type) => {
  const dir = mkdtempSync(join(tmpdir(), 'banger-ssh-key-'));
  onTestFinished(() => { rmSync(dir, { recursive: true }); });
  const file = join(dir, 'own');
  const world = await makeWorld({ config: { authorized_keys: [`${file}.pub`] } });
  await world.run('ssh-keygen', ['-q', '-t', type, '-N', '', '-f', file]);
  const { code, err } = await world.run('ssh', [...withKeys(world, [file]), 'true']);
  expect({ code, err }).toEqual({ code: 0, err: '' });
});

test('says which VM is unknown, paused or not running, and how to start it', async () => {
  const world = await makeWorld();
  expect((await world.run('ssh', ['nothing.vm', 'true'])).err).toContain('error No VM matches nothing');
  expect((await world.run('ssh', ['paused.vm', 'true'])).err).toContain('error VM paused is paused (banger vm resume paused)');
  expect((await world.run('ssh', ['stopped.vm', 'true'])).err).toContain('error VM stopped is not running (it has not been started) (banger vm start stopped)');
});

test('tells a user that the guest does not know on stderr, with 255', async () => {
  const world = await makeWorld();
  const result = await world.run('ssh', ['nobody-here@devbox.vm', 'true']);
  expect(result).toMatchObject({ code: 255, err: 'banger: No user matches nobody-here\r\n' });
});

test('hands on well-formed variables, a terminal and its size', async () => {
  const world = await makeWorld();
  const env = { LANG: 'de_DE.UTF-8', FOO_1: 'bar', TERM: 'xterm-256color' };
  const { out } = await world.run('ssh', ['-tt', '-o', 'SendEnv=LANG FOO_1', 'devbox.vm', 'echo $LANG $FOO_1 $SSH_CONNECTION'], { env });
  expect(out).toContain('de_DE.UTF-8 bar UNKNOWN 65535 UNKNOWN 65535');
  expect(world.requests[0]).toMatchObject({ env: { LANG: 'de_DE.UTF-8', FOO_1: 'bar' }, tty: { term: 'xterm-256color' } });
});

test('gives a login shell without a command', async () => {
  const world = await makeWorld();
  const { out } = await world.run('ssh', ['-T', 'devbox.vm'], { input: 'echo shell=$0\n' });
  expect(out).toContain('shell=/bin/sh');
  expect(world.requests[0]).toMatchObject({ command: [], login: true });
});

test('keeps daemon and VM in use while a client is there, and hangs its command up when it goes away', async () => {
  const world = await makeWorld();
  const child = world.start('ssh', ['devbox.vm', 'echo up; exec sleep 1000']);
  await new Promise((resolve) => { child.stdout!.once('data', resolve); });
  expect([world.held(), world.used()]).toEqual([1, ['abcdefabcdef ssh session']]);
  child.kill('SIGKILL');
  await waitFor('the hangup', () => world.events.includes('hangup') && world.held() === 0 && world.used().length === 0);
});

test('ends the connections of a VM with a word', async () => {
  const world = await makeWorld();
  const child = world.start('ssh', ['devbox.vm', 'echo up; exec sleep 1000']);
  let err = '';
  child.stderr!.on('data', (chunk: Buffer) => { err += chunk.toString(); });
  await new Promise((resolve) => { child.stdout!.once('data', resolve); });
  world.server.closeVm('abcdefabcdef', 'VM devbox has stopped');
  const code = await new Promise((resolve) => { child.once('close', resolve); });
  expect(code).toBe(255);
  expect(err).toContain('VM devbox has stopped');
});

test('copies with scp in both protocols and with sftp', async () => {
  const world = await makeWorld();
  const data = randomBytes(300_000);
  writeFileSync(join(world.dir, 'source'), data, { mode: 0o640 });
  for (const [name, flags] of [['sftp', []], ['rcp', ['-O']]] as const) {
    const there = join(world.dir, `there-${name}`);
    const back = join(world.dir, `back-${name}`);
    expect(await world.run('scp', [...flags, '-p', 'source', `devbox.vm:${there}`])).toMatchObject({ code: 0 });
    expect(await world.run('scp', [...flags, '-p', `devbox.vm:${there}`, back])).toMatchObject({ code: 0 });
    expect(readFileSync(back).equals(data)).toBe(true);
    expect(statSync(back).mode & 0o777).toBe(0o640);
  }
  expect(world.requests.filter((request) => request.builtin === true)).toMatchObject([{ command: ['sftp'] }, { command: ['sftp'] }]);
  const batch = `put source ${join(world.dir, 'by-sftp')}\nls -l ${world.dir}\n`;
  const listed = await world.run('sftp', ['-b', '-', 'devbox.vm'], { input: batch });
  expect(listed).toMatchObject({ code: 0 });
  expect(listed.out).toContain('by-sftp');
});

test('refuses other subsystems and X11', async () => {
  const world = await makeWorld();
  const refused = await world.run('ssh', ['-s', 'devbox.vm', 'netconf']);
  expect(refused.err).toContain('subsystem request failed');
  expect(world.requests).toEqual([]);
});

test('synchronises with rsync', async () => {
  const world = await makeWorld();
  mkdirSync(join(world.dir, 'tree', 'deep'), { recursive: true });
  writeFileSync(join(world.dir, 'tree', 'deep', 'file'), 'content');
  const there = join(world.dir, 'synced');
  expect(await world.run('rsync', ['-a', '-e', `ssh -F ${world.sshConfig}`, 'tree/', `devbox.vm:${there}/`])).toMatchObject({ code: 0 });
  expect(readFileSync(join(there, 'deep', 'file'), 'utf8')).toBe('content');
});

/** Echoes in upper case until the client has ended, and only then its own end: half-close must hold both ways. */
async function upperServer(where: number | string): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let text = '';
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => { text += chunk.toString(); });
    socket.on('end', () => socket.end(text.toUpperCase()));
  });
  onTestFinished(() => { server.close(); });
  await new Promise<void>((resolve) => { server.listen(where as number, resolve); });
  return typeof where === 'string' ? 0 : (server.address() as AddressInfo).port;
}

test('forwards -W, -L, -D and unix sockets, ending each direction by itself', async () => {
  const world = await makeWorld();
  const port = await upperServer(0);
  const path = join(world.dir, 'up.sock');
  await upperServer(path);
  expect(await world.run('ssh', ['-W', `127.0.0.1:${port}`, 'devbox.vm'], { input: 'by w' })).toMatchObject({ code: 0, out: 'BY W' });
  const [tcp, socks] = [await freePort(), await freePort()];
  const local = join(world.dir, 'local.sock');
  world.start('ssh', ['-N', '-L', `127.0.0.1:${tcp}:localhost:${port}`, '-L', `${local}:${path}`, '-D', `127.0.0.1:${socks}`, 'devbox.vm']);
  await waitFor('the forwards', () => ask({ host: '127.0.0.1', port: tcp }, 'x').catch(() => undefined));
  expect(await ask({ host: '127.0.0.1', port: tcp }, 'by l')).toBe('BY L');
  expect(await ask({ path: local }, 'by unix')).toBe('BY UNIX');
  expect(await askBySocks(socks, port, 'by d')).toBe('BY D');
  const refused = await world.run('ssh', ['-W', `127.0.0.1:${await freePort()}`, 'devbox.vm']);
  expect(refused.err).toContain('ECONNREFUSED');
});

test('listens in the guest for -R: a port, any port, a unix socket; all of it ends with the client', async () => {
  const world = await makeWorld();
  const port = await upperServer(0);
  const remote = await freePort();
  const path = join(world.dir, 'remote.sock');
  const child = world.start('ssh', ['-N', '-R', `${remote}:127.0.0.1:${port}`, '-R', `127.0.0.1:0:127.0.0.1:${port}`, '-R', `${path}:127.0.0.1:${port}`, 'devbox.vm']);
  let err = '';
  child.stderr!.on('data', (chunk: Buffer) => { err += chunk.toString(); });
  const chosen = Number((await waitFor('the port', () => /Allocated port (\d+)/.exec(err) ?? undefined))[1]);
  expect(await waitFor('the forward', () => ask({ host: 'localhost', port: remote }, 'by r').catch(() => undefined))).toBe('BY R');
  expect(await ask({ host: '127.0.0.1', port: chosen }, 'any')).toBe('ANY');
  expect(await waitFor('the socket', () => ask({ path }, 'unix').catch(() => undefined))).toBe('UNIX');
  child.kill('SIGTERM');
  await waitFor('the end of the listeners', async () => (await ask({ host: '127.0.0.1', port: chosen }, 'x').catch(() => undefined)) === undefined);
  await expect(ask({ path }, 'x')).rejects.toThrow('ENOENT');
});

test('multiplexes: sessions on one connection, a forward added and cancelled', async () => {
  const world = await makeWorld();
  const control = ['-o', `ControlPath=${join(world.dir, 'mux')}`];
  const master = world.start('ssh', [...control, '-M', '-N', 'devbox.vm']);
  await waitFor('the master', async () => (await world.run('ssh', [...control, '-O', 'check', 'devbox.vm'])).code === 0);
  const results = await Promise.all([1, 2, 3].map((n) => world.run('ssh', [...control, 'devbox.vm', `cat; exit ${n}`], { input: String(n) })));
  expect(results.map(({ code, out }) => [code, out])).toEqual([[1, '1'], [2, '2'], [3, '3']]);
  expect(world.held()).toBe(1);
  const port = await upperServer(0);
  const remote = await freePort();
  const forward = `127.0.0.1:${remote}:127.0.0.1:${port}`;
  expect(await world.run('ssh', [...control, '-O', 'forward', '-R', forward, 'devbox.vm'])).toMatchObject({ code: 0 });
  expect(await ask({ host: '127.0.0.1', port: remote }, 'mux')).toBe('MUX');
  expect(await world.run('ssh', [...control, '-O', 'cancel', '-R', forward, 'devbox.vm'])).toMatchObject({ code: 0 });
  await waitFor('the end of the listener', async () => (await ask({ host: '127.0.0.1', port: remote }, 'x').catch(() => undefined)) === undefined);
  await world.run('ssh', [...control, '-O', 'exit', 'devbox.vm']);
  await waitFor('the master to end', () => master.exitCode !== null);
  await waitFor('the connection to be let go', () => world.held() === 0);
});

test('forwards the agent of the person with -A', async () => {
  const world = await makeWorld();
  const sock = join(world.dir, 'agent.sock');
  const agent = world.start('ssh-agent', ['-D', '-a', sock]);
  await waitFor('the agent', async () => (await world.run('ssh-add', ['-q', join(world.dir, 'id_ed25519')], { env: { SSH_AUTH_SOCK: sock } })).code === 0);
  const { out } = await world.run('ssh', ['-A', 'devbox.vm', 'echo $SSH_AUTH_SOCK; ssh-add -l'], { env: { SSH_AUTH_SOCK: sock } });
  expect(out).toMatch(/^\/tmp\/banger-agent-[0-9a-f]{24}\.sock\n256 SHA256:/);
  await waitFor('the socket to be gone', async () => (await ask({ path: out.split('\n')[0]! }, '').catch(() => undefined)) === undefined);
  expect((await world.run('ssh', ['devbox.vm', 'echo "<$SSH_AUTH_SOCK>"'], { env: { SSH_AUTH_SOCK: sock } })).out).toBe('<>\n');
  agent.kill();
});

/** In place of the world's configuration: these keys and no other. */
function withKeys(world: World, files: readonly string[]): string[] {
  const proxy = /ProxyCommand (.*)/.exec(readFileSync(world.sshConfig, 'utf8'))![1]!;
  return ['-F', 'none', ...files.flatMap((file) => ['-i', file]), '-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes',
    '-o', `ProxyCommand=${proxy}`, '-o', `UserKnownHostsFile=${join(world.dir, 'known_hosts')}`, 'tester@devbox.vm'];
}
