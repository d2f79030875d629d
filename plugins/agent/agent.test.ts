// The real agent over a real socket, by the real session: the protocol as both ends speak it.
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, it } from 'vitest';
import { openDial } from './dial-stream.ts';
import { openExec } from './exec-stream.ts';
import { buildTestAgent, childCount, collect, failureOf, idle, openTestSession, run, startTestAgent, until } from './test-agent.ts';
import type { TestAgent, TestSession } from './test-agent.ts';

let program: string;
let agent: TestAgent;
let host: TestSession;
const isRoot = userInfo().uid === 0;
const megabytes64 = 64 * 1024 * 1024;
const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

beforeAll(async () => {
  program = (await buildTestAgent()).path;
  agent = await startTestAgent(program, 'env FROM_CONFIG=two%20words\n');
});
afterAll(async () => {
  await agent.stop();
  // AddressSanitizer and UndefinedBehaviorSanitizer speak here.
  if (/Sanitizer|runtime error/.test(agent.stderr())) throw new Error(agent.stderr());
});
beforeEach(async () => {
  host = await openTestSession(agent.socketPath);
  await host.ready();
});
afterEach(() => host.session.close());

describe('exec', () => {
  it('gives output of both channels and the exit code', async () => {
    const result = await collect(await run(host.session, ['sh', '-c', 'echo out; echo err >&2; exit 42']));
    expect(result).toEqual({ stdout: 'out\n', stderr: 'err\n', exit: { code: 42 } });
  });

  it('reports death by a signal', async () => {
    const result = await collect(await run(host.session, ['sh', '-c', 'kill -TERM $$']));
    expect(result.exit).toEqual({ signal: 'TERM', number: 15 });
  });

  it('passes environment of the configuration and the request, and the directory', async () => {
    const result = await collect(await run(host.session, ['sh', '-c', 'echo "$FROM_CONFIG|$MINE|$HOME|$PATH|$(pwd)"'], { env: { MINE: 'a=b c', HOME: '/tmp' }, cwd: '/usr' }));
    expect(result.stdout).toBe('two words|a=b c|/tmp|/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin|/usr\n');
  });

  it('says 127 for a missing program and 126 for one that cannot run', async () => {
    const missing = await collect(await run(host.session, ['no-such-program']));
    expect(missing).toEqual({ stdout: '', stderr: 'banger: no-such-program: not found\n', exit: { code: 127 } });
    const unusable = await collect(await run(host.session, ['/etc/passwd']));
    expect(unusable).toEqual({ stdout: '', stderr: 'banger: /etc/passwd: Permission denied\n', exit: { code: 126 } });
    const lost = await collect(await run(host.session, ['true'], { cwd: '/no-such-directory' }));
    expect(lost.exit).toEqual({ code: 126 });
  });

  it('gives /dev/null as stdin unless one is asked for', async () => {
    const result = await collect(await run(host.session, ['sh', '-c', 'readlink /proc/self/fd/0; cat']));
    expect(result).toEqual({ stdout: '/dev/null\n', stderr: '', exit: { code: 0 } });
  });

  it('hands on stdin and its end', async () => {
    const child = await run(host.session, ['sort'], { stdin: true });
    child.stdin.end('b\na\n');
    expect((await collect(child)).stdout).toBe('a\nb\n');
  });

  it('starts children with default signals, no foreign descriptors and their own group', async () => {
    const result = await collect(await run(host.session, ['sh', '-c', 'ls /proc/self/fd | tr "\\n" " "; grep -E "Sig(Blk|Ign)" /proc/self/status; cut -d" " -f5 /proc/$$/stat; echo $$']));
    const lines = result.stdout.trim().split('\n');
    expect(lines[0]).toContain('0 1 2 3 SigBlk');
    expect(lines[0]).toMatch(/SigBlk:\t0{16}$/);
    expect(lines[1]).toMatch(/SigIgn:\t0{16}$/);
    expect(lines[2]).toBe(lines[3]);
  });

  it('sends signals to the whole group', async () => {
    const child = await run(host.session, ['sh', '-c', 'sleep 1000 & echo $!; wait']);
    const pid = await firstNumber(child.stdout);
    child.signal('TERM');
    expect(await child.exit).toEqual({ signal: 'TERM', number: 15 });
    await until(() => !isAlive(pid), 'the background process to end');
  });

  it('does not wait for what a command left running', async () => {
    const child = await run(host.session, ['sh', '-c', 'sleep 1000 & echo $!']);
    const result = await collect(child);
    expect(result.exit).toEqual({ code: 0 });
    const pid = Number(result.stdout);
    expect(isAlive(pid)).toBe(true);
    process.kill(pid);
  });

  it('refuses an unknown user by name', async () => {
    await expect(run(host.session, ['true'], { user: 'nobody-at-all' })).rejects.toMatchObject({ code: 'not_found', message: 'cannot run the command in devbox: no such user in the guest' });
  });

  it('refuses a command beyond 64 KiB before anything is sent', async () => {
    await expect(async () => run(host.session, ['echo', 'x'.repeat(70_000)])).rejects.toMatchObject({ code: 'bad_request' });
  });

  it('becomes the user with its groups and home', async (ctx) => {
    if (!isRoot) ctx.skip('only root can become another user');
    const result = await collect(await run(host.session, ['sh', '-c', 'id -u; id -g; id -G; echo $USER $HOME'], { user: 'daemon' }));
    expect(result.stdout).toBe('1\n1\n1\ndaemon /usr/sbin\n');
    const numeric = await collect(await run(host.session, ['id'], { user: '4242:4343' }));
    expect(numeric.stdout).toBe('uid=4242 gid=4343 groups=4343\n');
  });

  it('hands a line to the shell of the user, a login shell when asked', async () => {
    const plain = await collect(await run(host.session, [], { line: 'echo "$0" $((6 * 7)) | tr a-z A-Z; exit 4' }));
    expect(plain).toEqual({ stdout: expect.stringMatching(/^[A-Z]+ 42\n$/) as string, stderr: '', exit: { code: 4 } });
    const login = await collect(await run(host.session, [], { line: 'echo "$0"', login: true }));
    expect(login.stdout).toMatch(/^-\w+\n$/);
    expect((await collect(await run(host.session, [], { line: '' }))).exit).toEqual({ code: 0 });
  });

  it('passes words through a login shell as they are', async () => {
    const words = ['', 'a b', "it's", '"$HOME"', '\\', '`id`', '*', 'two\nlines', '~'];
    const result = await collect(await run(host.session, ['printf', '%s|', ...words], { login: true }));
    expect(result).toEqual({ stdout: `${words.join('|')}|`, stderr: '', exit: { code: 0 } });
    // The shell itself is replaced: signals reach the command.
    const child = await run(host.session, ['sleep', '1000'], { login: true });
    child.signal('TERM');
    expect(await child.exit).toEqual({ signal: 'TERM', number: 15 });
  });

  it('runs programs of its own, with the environment and directory of the request', async () => {
    const version = await collect(await run(host.session, ['--version'], { builtin: true }));
    expect(version).toEqual({ stdout: '0.1.0 protocol 2\n', stderr: '', exit: { code: 0 } });
    const unknown = await collect(await run(host.session, ['no-such-part', 'x'], { builtin: true, cwd: '/usr' }));
    expect(unknown).toMatchObject({ stdout: '', stderr: expect.stringContaining('usage: agent') as string, exit: { code: 2 } });
  });

  it('runs its own programs as another user', async (ctx) => {
    if (!isRoot) ctx.skip('only root can become another user');
    const version = await collect(await run(host.session, ['--version'], { builtin: true, user: 'nobody' }));
    expect(version).toEqual({ stdout: '0.1.0 protocol 2\n', stderr: '', exit: { code: 0 } });
  });

  it('refuses kinds of command that exclude each other', async () => {
    for (const request of [{ line: 'x', command: ['y'] }, { line: 'x', builtin: true }, { builtin: true }, { builtin: true, login: true, command: ['y'] }]) {
      await expect(run(host.session, request.command ?? [], request)).rejects.toMatchObject({ code: 'bad_request' });
    }
  });

  it('runs a login shell for an empty command', async () => {
    const child = await run(host.session, [], { stdin: true });
    child.stdin.end('echo "$0"; exit 3\n');
    const result = await collect(child);
    expect(result.stdout).toMatch(/^-\w+\n$/);
    expect(result.exit).toEqual({ code: 3 });
  });
});

describe('terminal', () => {
  const tty = { cols: 97, rows: 31, term: 'xterm-256color' };

  it('is a controlling terminal of the asked size and type', async () => {
    const result = await collect(await run(host.session, ['sh', '-c', 'tty; stty size; echo $TERM; : > /dev/tty && echo controlling'], { tty, stdin: true }));
    expect(result.stdout).toMatch(/^\/dev\/pts\/\d+\r\n31 97\r\nxterm-256color\r\ncontrolling\r\n$/);
    expect(result.stderr).toBe('');
  });

  it('resizes, with a signal to the foreground', async () => {
    const child = await run(host.session, ['sh', '-c', 'trap "stty size; exit 0" WINCH; echo ready; while :; do sleep 0.05; done'], { tty, stdin: true });
    const output = gather(child.stdout);
    await until(() => output().includes('ready'), 'the shell');
    child.resize(120, 40);
    expect(await child.exit).toEqual({ code: 0 });
    expect(output()).toContain('40 120');
  });

  it('turns Ctrl-C into INT and ends input with Ctrl-D', async () => {
    const child = await run(host.session, ['sh', '-c', 'echo ready; exec sleep 1000'], { tty, stdin: true });
    const output = gather(child.stdout);
    await until(() => output().includes('ready'), 'the command');
    child.stdin.write('\x03');
    expect(await child.exit).toEqual({ signal: 'INT', number: 2 });
    const cat = await run(host.session, ['cat'], { tty, stdin: true });
    cat.stdin.end('hello\n');
    expect((await collect(cat)).exit).toEqual({ code: 0 });
  });
});

describe('flow', () => {
  it('carries 64 MB out whole while another exec answers', async () => {
    const big = await run(host.session, ['sh', '-c', `head -c ${megabytes64} /dev/zero | tr "\\0" "x"; echo done >&2`]);
    const hash = createHash('sha256');
    let received = 0;
    const others: string[] = [];
    for await (const chunk of big.stdout) {
      const before = received;
      received += (chunk as Buffer).length;
      hash.update(chunk as Buffer);
      // Four times on the way, in the middle of the stream.
      if (Math.floor(before / (megabytes64 / 5)) !== Math.floor(received / (megabytes64 / 5)) && others.length < 4) {
        others.push((await collect(await run(host.session, ['echo', 'here']))).stdout);
      }
    }
    expect(received).toBe(megabytes64);
    expect(hash.digest('hex')).toBe(createHash('sha256').update('x'.repeat(megabytes64)).digest('hex'));
    expect(others).toEqual(Array.from({ length: 4 }, () => 'here\n'));
    expect(await big.exit).toEqual({ code: 0 });
  });

  it('carries 64 MB in whole while another exec answers', async () => {
    const child = await run(host.session, ['sha256sum'], { stdin: true });
    const block = randomBytes(1024 * 1024);
    const others: string[] = [];
    const hash = createHash('sha256');
    for (let i = 0; i < 64; i += 1) {
      hash.update(block);
      if (!child.stdin.write(block)) await new Promise((resolve) => child.stdin.once('drain', resolve));
      if (i % 16 === 8) others.push((await collect(await run(host.session, ['echo', 'here']))).stdout);
    }
    child.stdin.end();
    expect(others).toEqual(Array.from({ length: 4 }, () => 'here\n'));
    expect((await collect(child)).stdout).toBe(`${hash.digest('hex')}  -\n`);
  });

  it('lets a stream nobody reads wait, and only that one', async () => {
    const stuck = await run(host.session, ['cat', '/dev/zero']);
    await until(() => stuck.stdout.readableLength >= 256 * 1024, 'the window to fill');
    expect((await collect(await run(host.session, ['echo', 'free']))).stdout).toBe('free\n');
    expect(stuck.stdout.readableLength).toBe(256 * 1024);
    stuck.signal('KILL');
    stuck.stdout.resume();
    expect(await stuck.exit).toEqual({ signal: 'KILL', number: 9 });
  });

  it('drops input that nobody reads any more', async () => {
    const child = await run(host.session, ['true'], { stdin: true });
    await new Promise<void>((resolve, reject) => child.stdin.write(randomBytes(4 * 1024 * 1024), (error) => (error ? reject(error) : resolve())));
    expect(await child.exit).toEqual({ code: 0 });
  });

  it('runs fifty at once', async () => {
    const results = await Promise.all(Array.from({ length: 50 }, async (_, i) => collect(await run(host.session, ['sh', '-c', `echo ${i}; exit ${i}`]))));
    expect(results.map((r) => [r.stdout, r.exit])).toEqual(results.map((_, i) => [`${i}\n`, { code: i }]));
  });

  it('refuses more streams than its limit, and goes on', async () => {
    // Commands of the tests before may still be ending.
    await until(async () => (await childCount(agent)) === 0, 'earlier commands to end');
    const children = await Promise.allSettled(Array.from({ length: 260 }, () => run(host.session, ['sleep', '1000'])));
    const refused = children.filter((c) => c.status === 'rejected');
    expect(refused).toHaveLength(4);
    expect(refused[0]?.reason).toMatchObject({ code: 'operation_failed', message: 'cannot run the command in devbox: too many streams' });
    for (const c of children) if (c.status === 'fulfilled') c.value.signal('KILL');
    await Promise.all(children.flatMap((c) => (c.status === 'fulfilled' ? [c.value.exit] : [])));
    expect((await collect(await run(host.session, ['echo', 'still']))).stdout).toBe('still\n');
  });
});

describe('dial', () => {
  const dial = (port: number, name = 'localhost') => openDial(host.session, { host: name, port }, { subject: 'devbox', signal: idle });
  async function echoServer(address: string): Promise<{ readonly port: number; close(): void }> {
    const server = createServer({ allowHalfOpen: true }, (socket) => socket.on('error', () => {}).pipe(socket));
    await new Promise<void>((resolve) => server.listen(0, address, resolve));
    return { port: (server.address() as AddressInfo).port, close: () => server.close() };
  }

  it.each([['127.0.0.1', 'localhost'], ['127.0.0.1', '127.0.0.1'], ['::1', '::1'], ['::1', 'localhost']])('listening on %s, dialled as %s: carries both ways with half-close', async (address, name) => {
    const server = await echoServer(address);
    const stream = await dial(server.port, name);
    const data = randomBytes(3 * 1024 * 1024);
    stream.end(data);
    const parts: Buffer[] = [];
    for await (const chunk of stream) parts.push(chunk as Buffer);
    expect(Buffer.concat(parts).equals(data)).toBe(true);
    server.close();
  });

  it('says why a connection is refused', async () => {
    const server = await echoServer('127.0.0.1');
    server.close();
    await expect(dial(server.port)).rejects.toMatchObject({ code: 'operation_failed', message: `cannot connect to localhost:${server.port} in devbox: Connection refused` });
  });

  it('reaches unix sockets, and says why not', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'banger-dial-'));
    const path = join(dir, 'echo.sock');
    const dialPath = (target: string, user?: string) => openDial(host.session, { path: target, ...(user === undefined ? {} : { user }) }, { subject: 'devbox', signal: idle });
    const server = createServer({ allowHalfOpen: true }, (socket) => socket.on('error', () => {}).pipe(socket));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const stream = await dialPath(path);
    const data = randomBytes(1024 * 1024);
    stream.end(data);
    expect(Buffer.concat(await stream.toArray() as Buffer[]).equals(data)).toBe(true);
    server.close();
    expect(await failureOf(dialPath(path))).toMatchObject({ code: 'not_found', message: `cannot connect to ${path} in devbox: No such file or directory` });
    await writeFile(path, '');
    expect(await failureOf(dialPath(path))).toMatchObject({ code: 'operation_failed', message: `cannot connect to ${path} in devbox: Connection refused` });
    expect(await failureOf(dialPath(path, 'nobody-at-all'))).toMatchObject({ code: 'not_found', message: `cannot connect to ${path} in devbox: no such user in the guest` });
    expect(await failureOf(dialPath('echo.sock'))).toMatchObject({ code: 'bad_request' });
    await rm(dir, { recursive: true });
    await until(async () => (await childCount(agent)) === 0, 'the processes that connected to end');
  });

  it('reaches a unix socket only as far as its user may', async (ctx) => {
    if (!isRoot) ctx.skip('only root can become another user');
    const dir = await mkdtemp(join(tmpdir(), 'banger-dial-'));
    const path = join(dir, 'echo.sock');
    const server = createServer((socket) => socket.end());
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const refused = failureOf(openDial(host.session, { path, user: 'nobody' }, { subject: 'devbox', signal: idle }));
    expect(await refused).toMatchObject({ code: 'operation_failed', message: `cannot connect to ${path} in devbox: Permission denied` });
    server.close();
    await rm(dir, { recursive: true });
  });

  it('tells the guest when the host gives up', async () => {
    let closed = false;
    const server = createServer((socket) => socket.on('error', () => {}).on('close', () => { closed = true; }));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const stream = await dial((server.address() as AddressInfo).port);
    stream.destroy();
    await until(() => closed, 'the server to see the end');
    server.close();
  });
});

describe('losing the host', () => {
  it('hangs up commands when the connection ends, and kills what ignores that', async () => {
    const polite = await run(host.session, ['sh', '-c', 'echo $$; exec sleep 1000']);
    const rude = await run(host.session, ['sh', '-c', 'trap "" HUP; echo $$; while :; do sleep 1; done']);
    const [politePid, rudePid] = [await firstNumber(polite.stdout), await firstNumber(rude.stdout)];
    const lost = failureOf(polite.exit);
    host.socket.destroy();
    expect(await lost).toMatchObject({ code: 'operation_failed', message: 'lost contact with guest agent of devbox' });
    await until(() => !isAlive(politePid), 'the polite command to end');
    expect(isAlive(rudePid)).toBe(true);
    await until(() => !isAlive(rudePid), 'the rude command to be killed');
  });

  it('hangs up one command on request and reports its end', async () => {
    const child = await run(host.session, ['sh', '-c', 'trap "exit 7" HUP; echo ready; while :; do sleep 0.02; done']);
    await firstChunk(child.stdout);
    child.hangup();
    expect(await child.exit).toEqual({ code: 7 });
  });

  it('ends a command whose opening was cancelled', async () => {
    const cancel = new AbortController();
    const opening = openExec(host.session, { command: ['sleep', '1000'], env: {}, stdin: false }, { subject: 'devbox', signal: cancel.signal });
    cancel.abort();
    await expect(opening).rejects.toMatchObject({ code: 'cancelled' });
    expect((await collect(await run(host.session, ['echo', 'fine']))).stdout).toBe('fine\n');
  });
});

async function firstChunk(stream: NodeJS.ReadableStream): Promise<string> {
  return new Promise((resolve) => stream.once('data', (chunk: Buffer) => resolve(chunk.toString())));
}
async function firstNumber(stream: NodeJS.ReadableStream): Promise<number> {
  return Number((await firstChunk(stream)).trim());
}
function gather(stream: NodeJS.ReadableStream): () => string {
  let text = '';
  stream.on('data', (chunk: Buffer) => { text += chunk.toString(); });
  return () => text;
}
