// The proxy between a scripted gate and either ssh itself or pipes.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { waitFor } from '../../test/support/wait.ts';

const root = join(import.meta.dirname, '..', '..');
const sourceDir = join(root, 'native', 'ssh-proxy');
const sources = readdirSync(sourceDir).filter((name) => /\.[ch]$/.test(name)).map((name) => join(sourceDir, name));

/** The built one when it is newer than its sources, else one compiled for the tests. */
function findProxy(): string {
  const built = join(root, 'dist', 'native', 'ssh-proxy');
  const newest = Math.max(...sources.map((path) => statSync(path).mtimeMs));
  if (existsSync(built) && statSync(built).mtimeMs >= newest) return built;
  const dir = mkdtempSync(join(tmpdir(), 'banger-ssh-proxy-'));
  afterAll(() => rmSync(dir, { recursive: true }));
  execFileSync('gcc', ['-std=c11', '-O1', '-Wall', '-Wextra', '-Werror', '-o', join(dir, 'ssh-proxy'), ...sources.filter((path) => path.endsWith('.c'))]);
  return join(dir, 'ssh-proxy');
}
const proxy = findProxy();

let dir: string;
let socketPath: string;
let server: Server | undefined;
const sockets = new Set<Socket>();
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'banger-gate-'));
  socketPath = join(dir, 'ssh.sock');
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  await new Promise<void>((resolve) => (server ? server.close(() => resolve()) : resolve()));
  server = undefined;
  rmSync(dir, { recursive: true });
});

/** A gate that takes the first line and then does what the script says. */
async function gate(script: (socket: Socket, line: string) => void): Promise<void> {
  server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined); // the client may go at any time
    let text = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      text = Buffer.concat([text, chunk]);
      const end = text.indexOf(10);
      if (end < 0) return;
      socket.off('data', onData);
      socket.pause();
      if (text.length > end + 1) socket.unshift(text.subarray(end + 1));
      script(socket, text.subarray(0, end).toString());
    };
    socket.on('data', onData);
  });
  await new Promise<void>((resolve) => server!.listen(socketPath, resolve));
}

interface Result { readonly code: number | null; readonly out: Buffer; readonly err: string }
function run(args: readonly string[], input: Buffer | string = ''): Promise<Result> {
  return new Promise((resolve, reject) => {
    const child = spawn(proxy, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    const out: Buffer[] = [];
    let err = '';
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk) => { err += String(chunk); });
    child.stdin.on('error', () => undefined); // it need not read everything
    child.stdin.end(input);
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out: Buffer.concat(out), err }));
  });
}
const hash = (data: Buffer): string => execFileSync('sha256sum', { input: data, encoding: 'utf8' });
async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

describe('the relay', () => {
  test('carries both ways, and each end of input to the other side', async () => {
    const [up, down] = [randomBytes(3_000_000), randomBytes(3_000_000)];
    let got: Buffer | undefined;
    let named = '';
    await gate((socket, line) => {
      named = line;
      socket.write('ok\n');
      void readAll(socket).then((data) => {
        got = data;
        // Only now, after the other side's end.
        socket.end(down);
      });
    });
    const { code, out, err } = await run([socketPath, 'devbox.vm'], up);
    expect([code, err, named]).toEqual([0, '', 'devbox.vm']);
    expect([hash(got!), hash(out)]).toEqual([hash(up), hash(down)]);
  });

  test('goes on one way while nobody reads the other', async () => {
    const [up, down] = [randomBytes(3_000_000), randomBytes(3_000_000)];
    let got: Buffer | undefined;
    await gate((socket) => {
      // Nothing of theirs is read until all of ours has been taken.
      socket.write(Buffer.concat([Buffer.from('ok\n'), down]), () => void readAll(socket).then((data) => {
        got = data;
        socket.end();
      }));
    });
    const { out } = await run([socketPath, 'devbox.vm'], up);
    expect([hash(got!), hash(out)]).toEqual([hash(up), hash(down)]);
  });

  test('ends when the daemon does, though stdin is open and full', async () => {
    await gate((socket) => {
      socket.write('ok\nlast words');
      setImmediate(() => socket.destroy());
    });
    const child = spawn(proxy, [socketPath, 'devbox.vm'], { stdio: ['pipe', 'pipe', 'inherit'] });
    child.stdin.on('error', () => undefined);
    child.stdin.write(randomBytes(1_000_000));
    let out = '';
    child.stdout.on('data', (chunk) => { out += String(chunk); });
    const code = await new Promise((resolve) => child.on('close', resolve));
    expect([code, out]).toEqual([0, 'last words']);
  });

  test.each(['o|k\n|data', 'ok\ndata', 'ok\n|d|a|t|a'])('loses no byte of %j after the answer', async (pieces) => {
    await gate((socket) => {
      const send = ([first, ...rest]: readonly string[]): void => {
        if (first === undefined) socket.end();
        else socket.write(first, () => setImmediate(send, rest));
      };
      send(pieces.split('|'));
    });
    expect((await run([socketPath, 'devbox.vm'])).out.toString()).toBe('data');
  });
});

describe('ssh itself', () => {
  const talk = (...options: string[]): Promise<{ err: string; code: number | null }> => new Promise((resolve) => {
    const child = spawn('ssh', ['-v', '-F', 'none', '-o', 'BatchMode=yes', ...options, 'devbox.vm', 'true'], { stdio: ['ignore', 'ignore', 'pipe'] });
    let err = '';
    child.stderr.on('data', (chunk) => { err += String(chunk); });
    child.on('close', (code) => resolve({ code, err }));
  });

  test.each([['with the descriptor passed', '--fdpass ', 'yes'], ['through the relay', '', 'no']])('speaks to the gate %s', async (_, flag, fdpass) => {
    let banner = '';
    await gate((socket) => {
      socket.write('ok\nSSH-2.0-scripted\r\n');
      socket.on('data', (chunk) => {
        banner += String(chunk);
        if (banner.includes('\n')) socket.destroy();
      });
      socket.resume();
    });
    const { err } = await talk('-o', `ProxyCommand=${proxy} ${flag}${socketPath} %h`, '-o', `ProxyUseFdpass=${fdpass}`);
    expect(err).toContain('remote software version scripted');
    expect(banner).toMatch(/^SSH-2\.0-OpenSSH/);
  });

  test('shows what the gate refused with', async () => {
    await gate((socket) => socket.end('error VM devbox is not running\n'));
    const { code, err } = await talk('-o', `ProxyCommand=${proxy} --fdpass ${socketPath} %h`, '-o', 'ProxyUseFdpass=yes');
    expect([code, err]).toEqual([255, expect.stringContaining('\nbanger: VM devbox is not running\n') as string]);
  });
});

describe('a gate that does not let in', () => {
  test.each([
    ['refuses', 'error No VM matches x\n', 'banger: No VM matches x\n'],
    ['refuses with what a terminal would obey', 'error a\u001B[2Jb\tc\n', 'banger: a [2Jb c\n'],
    ['ends', '', 'banger: the daemon closed the connection without an answer\n'],
    ['ends in the middle', 'o', 'banger: the daemon closed the connection without an answer\n'],
    ['says something else', 'hello\n', 'banger: the daemon answers with what is no answer: hello\n'],
    ['says too much', `ok${'k'.repeat(5000)}`, "banger: the daemon's answer is too long\n"],
  ])('that %s', async (_, answer, message) => {
    await gate((socket) => socket.end(answer));
    const { code, out, err } = await run([socketPath, 'devbox.vm']);
    expect([code, out.length, err]).toEqual([255, 0, message]);
  });

  test('that never answers is given up', async () => {
    await gate(() => undefined);
    expect(await run([socketPath, 'devbox.vm'])).toMatchObject({ code: 255, err: 'banger: the daemon does not answer\n' });
  });

  test('that is not there', async () => {
    expect(await run([socketPath, 'devbox.vm'])).toMatchObject({ code: 255, err: `banger: the daemon is not running (${socketPath}: No such file or directory)\n` });
  });
});

describe('the launcher', () => {
  const launcher = (script: string): string => {
    writeFileSync(join(dir, 'banger'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return join(dir, 'banger');
  };

  test('is run once, with its words and environment and without our stdin and stdout; then the gate is asked', async () => {
    const [asked, ready] = [join(dir, 'asked'), join(dir, 'ready')];
    const program = launcher(`echo "$@ $NAME" >>'${asked}'\necho this is not for ssh\ncat\nwhile [ ! -e '${ready}' ]; do sleep 0.05; done`);
    const result = run(['--start', program, '--env', 'NAME=a b', socketPath, 'devbox.vm'], 'input');
    await waitFor('the launcher', () => existsSync(asked));
    await gate((socket) => {
      socket.write('ok\n');
      void readAll(socket).then((data) => socket.end(`got ${data.toString()}`));
    });
    writeFileSync(ready, '');
    const { code, out, err } = await result;
    expect([code, out.toString(), err]).toEqual([0, 'got input', '']);
    expect(readFileSync(asked, 'utf8')).toBe('daemon start a b\n');
  });

  test('is run for a socket that a killed daemon left, too', async () => {
    const left = spawnSync(process.execPath, ['-e', "require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))", socketPath]);
    expect([left.signal, existsSync(socketPath)]).toEqual(['SIGKILL', true]);
    expect(await run(['--start', launcher('echo "banger: started" >&2; exit 1'), socketPath, 'devbox.vm'])).toMatchObject({ code: 255, err: 'banger: started\n' });
  });

  test.each([['before it is asked', (socket: Socket) => void socket.destroy()], ['with the request unread', (socket: Socket) => void setTimeout(() => socket.destroy(), 50)]])(
    'is run for a daemon that dies %s', async (_, die) => {
      // Killed, it lets others connect until its last thread is gone, and then breaks their connections.
      const dying = createServer({ pauseOnConnect: true }, (socket) => {
        dying.close();
        die(socket);
      });
      await new Promise<void>((resolve) => dying.listen(socketPath, resolve));
      expect(await run(['--start', launcher('echo "banger: started" >&2; exit 1'), socketPath, 'devbox.vm'])).toMatchObject({ code: 255, err: 'banger: started\n' });
    });

  test('that fails has had its say', async () => {
    const { code, out, err } = await run(['--start', launcher('echo out; echo "banger: it is broken" >&2; exit 3'), socketPath, 'devbox.vm']);
    expect([code, out.length, err]).toEqual([255, 0, 'banger: it is broken\n']);
  });

  test('that is gone is named', async () => {
    const { code, err } = await run(['--start', join(dir, 'nowhere'), socketPath, 'devbox.vm']);
    expect([code, err]).toEqual([255, `banger: the daemon is not running, and ${join(dir, 'nowhere')} cannot be run to start it\n`]);
  });
});

test.each([
  [[]], [['a']], [['a', 'b', 'c']], [['--fast', 'a', 'b']], [['--start']], [['--start', 'a', 'b']], [['--env', 'novalue', 'a', 'b']], [['/a', '']], [['/a', 'x\ny']], [['/a', 'x'.repeat(256)]], [[`/${'x'.repeat(108)}`, 'a']],
])('%j is refused', (args) => {
  const { status, stderr, stdout } = spawnSync(proxy, args, { encoding: 'utf8' });
  expect([status, stdout]).toEqual([255, '']);
  expect(stderr).toMatch(/^banger: /);
});

test('--fdpass without a socket to pass over says what it is for', async () => {
  await gate((socket) => socket.write('ok\n'));
  // A pipe of a test is a socket.
  const file = openSync(join(dir, 'out'), 'w');
  const child = spawn(proxy, ['--fdpass', socketPath, 'devbox.vm'], { stdio: ['ignore', file, 'pipe'] });
  let err = '';
  child.stderr!.on('data', (chunk) => { err += String(chunk); });
  const code = await new Promise((resolve) => child.on('close', resolve));
  closeSync(file);
  expect([code, err]).toEqual([255, 'banger: --fdpass is for ssh with ProxyUseFdpass: stdout is not a socket\n']);
});
