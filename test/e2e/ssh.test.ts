// SSH into real guests by OpenSSH's own programs and the tools that use them: the Debian image with the agent and with systemd as PID 1.
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeHost, type Host } from '../support/host.ts';
import { ask, askBySocks, freePort, sshTools, upperServer } from '../support/ssh-tools.ts';
import type { SshTools } from '../support/ssh-tools.ts';
import { waitFor } from '../support/wait.ts';

let host: Host;
let tools: SshTools;
beforeAll(async () => { host = await makeHost(); });
afterAll(async () => { await host.dispose(); });

const hash = (data: Buffer): string => createHash('sha256').update(data).digest('hex');

/** Answers in upper case once its client has ended; on a port of the guest's loopback and on a unix socket. */
const serveInGuest = `import socket, threading, sys
def serve(s):
  while True:
    c = s.accept()[0]
    def one(c=c):
      data = b''
      while True:
        part = c.recv(4096)
        if not part: break
        data += part
      c.sendall(data.upper()); c.shutdown(socket.SHUT_WR)
    threading.Thread(target=one).start()
t = socket.create_server(('127.0.0.1', 7000)); u = socket.socket(socket.AF_UNIX); u.bind('/tmp/up.sock'); u.listen()
threading.Thread(target=serve, args=(u,)).start()
print('ready', flush=True); serve(t)
`;
/** The other way: sends its words to an address and prints the answer. */
const askInGuest = `import socket, sys
s = socket.socket(socket.AF_UNIX) if sys.argv[1][0] == '/' else socket.socket()
s.connect(sys.argv[1] if sys.argv[1][0] == '/' else ('127.0.0.1', int(sys.argv[1])))
s.sendall(sys.argv[2].encode()); s.shutdown(socket.SHUT_WR)
data = b''
while True:
  part = s.recv(4096)
  if not part: break
  data += part
print(data.decode())
`;

describe.each([['agent'], ['image']])('Debian, PID 1 from the %s', (init) => {
  const name = `deb-${init}`;
  const address = `${name}.vm`;
  const ssh = (...args: string[]) => tools.run('ssh', [address, ...args]);
  beforeAll(async () => {
    await host.ok(['vm', 'run', '--name', name, '--init', init, '-d'], { timeoutMs: 240_000 });
    tools = sshTools(host);
    for (const [file, source] of [['serve.py', serveInGuest], ['ask.py', askInGuest]] as const) {
      expect(await tools.run('ssh', [address, `cat > /root/${file}`], { input: source })).toMatchObject({ code: 0, err: '' });
    }
    expect(await ssh('useradd -m -s /bin/bash dev')).toMatchObject({ code: 0 });
  });
  afterAll(async () => {
    tools.stop();
    await host.ok(['vm', 'delete', name]);
  });

  test('exit codes, signals, both outputs, input, environment', async () => {
    expect(await tools.run('ssh', [address, 'cat; echo two >&2; exit 42'], { input: 'one\n' })).toMatchObject({ code: 42, out: 'one\n', err: 'two\n' });
    expect((await ssh('kill -TERM $$')).code).toBe(255);
    expect((await ssh('no-such-program')).code).toBe(127);
    const verbose = await tools.run('ssh', ['-v', address, 'kill -SEGV $$']);
    expect(verbose.err).toContain('rtype exit-signal');
    const env = { LANG: 'C.UTF-8', GREETING: 'hello' };
    expect((await tools.run('ssh', ['-o', 'SendEnv=LANG GREETING', address, 'echo $LANG $GREETING $USER $HOME'], { env })).out).toBe('C.UTF-8 hello root /root\n');
    expect((await tools.run('ssh', ['-T', address], { input: 'shopt -q login_shell && echo login\n' })).out).toContain('login');
  });

  test('logs in as another user, and tells of one that the guest does not know', async () => {
    expect((await tools.run('ssh', [`dev@${address}`, 'id -un; pwd'])).out).toBe('dev\n/home/dev\n');
    // nologin is its shell, as with sshd.
    expect((await tools.run('ssh', [`www-data@${address}`, 'true'])).out).toContain('not available');
    const unknown = await tools.run('ssh', [`nobody-here@${address}`, 'true']);
    expect([unknown.code, unknown.err]).toEqual([255, expect.stringContaining('no such user in the guest') as string]);
  });

  test('gives a terminal the size of the window', async () => {
    const command = `stty rows 33 cols 101; exec ssh -F ${tools.configFile} -t ${address} 'stty size; tty; exit 3'`;
    const { code, out } = await tools.run('script', ['-qec', command, '/dev/null'], { env: { TERM: 'xterm' } });
    expect([code, out]).toEqual([3, expect.stringMatching(/33 101\s+\/dev\/pts\//) as string]);
  });

  test('a command ends with its client', async () => {
    const child = tools.start('ssh', [address, 'echo up; exec sleep 4711']);
    await new Promise((resolve) => { child.stdout!.once('data', resolve); });
    child.kill('SIGKILL');
    await waitFor('the command to end', async () => (await ssh('pgrep -f "[s]leep 4711"')).code === 1);
  });

  test('copies: scp in both protocols, sftp, rsync, a tree by tar', async () => {
    const data = randomBytes(3_000_000);
    writeFileSync(join(host.dir, 'source'), data, { mode: 0o640 });
    for (const flags of [[], ['-O']]) {
      expect(await tools.run('scp', [...flags, '-p', 'source', `${address}:/root/there`])).toMatchObject({ code: 0, err: '' });
      expect((await ssh('sha256sum /root/there; stat -c %a /root/there')).out).toBe(`${hash(data)}  /root/there\n640\n`);
      expect(await tools.run('scp', [...flags, `${address}:/root/there`, 'back'])).toMatchObject({ code: 0 });
      expect(hash(readFileSync(join(host.dir, 'back')))).toBe(hash(data));
    }
    const batch = 'mkdir by-sftp\nput source by-sftp/one\nrename by-sftp/one by-sftp/two\nchmod 600 by-sftp/two\nget by-sftp/two two\nls -l by-sftp\n';
    expect(await tools.run('sftp', ['-b', '-', address], { input: batch })).toMatchObject({ code: 0 });
    expect(hash(readFileSync(join(host.dir, 'two')))).toBe(hash(data));
    mkdirSync(join(host.dir, 'tree', 'deep'), { recursive: true });
    for (let n = 0; n < 50; n += 1) writeFileSync(join(host.dir, 'tree', n % 2 === 0 ? 'deep' : '', `file-${n}`), `content ${n}`);
    const rsync = ['-a', '-e', `ssh -F ${tools.configFile}`];
    expect(await tools.run('rsync', [...rsync, 'tree/', `${address}:/root/tree/`])).toMatchObject({ code: 0, err: '' });
    expect(await tools.run('rsync', [...rsync, `${address}:/root/tree/`, 'tree-back/'])).toMatchObject({ code: 0, err: '' });
    expect(await tools.run('diff', ['-r', 'tree', 'tree-back'])).toMatchObject({ code: 0, out: '' });
  });

  test('pushes and clones with git', async () => {
    const repo = join(host.dir, `repo-${init}`);
    const git = (...args: string[]) => tools.run('git', ['-c', 'user.name=a', '-c', 'user.email=a@b', ...args], { cwd: repo });
    mkdirSync(repo);
    expect(await ssh('git init -q --bare /root/bare.git')).toMatchObject({ code: 0 });
    await git('init', '-q', '-b', 'main');
    writeFileSync(join(repo, 'file'), randomBytes(200_000));
    await git('add', '.');
    await git('commit', '-qm', 'first');
    expect(await git('push', '-q', `root@${address}:/root/bare.git`, 'main')).toMatchObject({ code: 0 });
    expect((await ssh('git -C /root/bare.git log --format=%s main')).out).toBe('first\n');
    expect(await git('clone', '-q', '-b', 'main', `root@${address}:bare.git`, join(host.dir, `clone-${init}`))).toMatchObject({ code: 0 });
    expect(statSync(join(host.dir, `clone-${init}`, 'file')).size).toBe(200_000);
  });

  test('forwards to ports and sockets in the guest, each direction ending by itself', async () => {
    const server = tools.start('ssh', [address, 'exec python3 /root/serve.py']);
    await new Promise((resolve) => { server.stdout!.once('data', resolve); });
    expect(await tools.run('ssh', ['-W', 'localhost:7000', address], { input: 'by w' })).toMatchObject({ code: 0, out: 'BY W' });
    const [local, socks] = [await freePort(), await freePort()];
    const path = join(host.dir, `l-${init}.sock`);
    const forwards = tools.start('ssh', ['-N', '-L', `127.0.0.1:${local}:localhost:7000`, '-L', `${path}:/tmp/up.sock`, '-D', `127.0.0.1:${socks}`, address]);
    expect(await waitFor('-L', () => ask({ host: '127.0.0.1', port: local }, 'by l'))).toBe('BY L');
    expect(await ask({ path }, 'by unix')).toBe('BY UNIX');
    expect(await askBySocks(socks, 7000, 'by d')).toBe('BY D');
    const refused = await tools.run('ssh', ['-W', '127.0.0.1:1', address]);
    expect([refused.code, refused.err]).toEqual([255, expect.stringMatching(/refused/i) as string]);
    for (const child of [forwards, server]) child.kill('SIGTERM');
  });

  test('forwards from ports and sockets in the guest; they end with the client', async () => {
    const server = await upperServer();
    const to = `127.0.0.1:${server.port}`;
    const child = tools.start('ssh', ['-N', '-R', `7100:${to}`, '-R', `127.0.0.1:0:${to}`, '-R', `/tmp/r.sock:${to}`, address]);
    let err = '';
    child.stderr!.on('data', (chunk: Buffer) => { err += chunk.toString(); });
    const chosen = (await waitFor('the port', () => /Allocated port (\d+)/.exec(err) ?? undefined))[1]!;
    for (const where of ['7100', chosen, '/tmp/r.sock']) {
      expect(await waitFor(where, async () => {
        const { code, out } = await ssh(`python3 /root/ask.py ${where} by-r`);
        return code === 0 && out;
      })).toBe('BY-R\n');
    }
    child.kill('SIGTERM');
    await waitFor('the end of the listeners', async () => (await ssh(`python3 /root/ask.py ${chosen} x`)).code === 1);
    expect((await ssh('ls /tmp/r.sock')).code).not.toBe(0);
    server.close();
  });

  test("forwards the person's agent with -A, on a socket of that user alone", async () => {
    const sock = join(host.dir, `agent-${init}.sock`);
    const agent = tools.start('ssh-agent', ['-D', '-a', sock]);
    const env = { SSH_AUTH_SOCK: sock };
    const key = join(host.stateDir, 'plugins', 'ssh', 'id_ed25519');
    await waitFor('the agent', async () => (await tools.run('ssh-add', ['-q', key], { env })).code === 0);
    const { out } = await tools.run('ssh', ['-A', `dev@${address}`, 'stat -c "%a %U" $SSH_AUTH_SOCK; ssh-add -l; echo $SSH_AUTH_SOCK'], { env });
    expect(out).toMatch(/^600 dev\n256 SHA256:/);
    await waitFor('the socket to go', async () => (await ssh(`ls ${out.trim().split('\n').at(-1)!}`)).code !== 0);
    agent.kill();
  });

  test('multiplexes with ControlMaster', async () => {
    const control = ['-o', `ControlPath=${join(host.dir, `mux-${init}`)}`];
    const master = tools.start('ssh', [...control, '-M', '-N', address]);
    await waitFor('the master', async () => (await tools.run('ssh', [...control, '-O', 'check', address])).code === 0);
    const results = await Promise.all([1, 2, 3].map((n) => tools.run('ssh', [...control, address, `cat; exit ${n}`], { input: `${n}` })));
    expect(results.map(({ code, out }) => [code, out])).toEqual([[1, '1'], [2, '2'], [3, '3']]);
    await tools.run('ssh', [...control, '-O', 'exit', address]);
    await waitFor('the master to end', () => master.exitCode !== null);
  });
});
