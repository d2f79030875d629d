// The agent in a root directory of its own, as in a guest that has no shell: only the agent, its accounts and its hosts file are there.
import { execFile, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { openDial } from './dial-stream.ts';
import { collect, failureOf, idle, openTestSession, run, testToken, until } from './test-agent.ts';
import type { TestSession } from './test-agent.ts';

const isRoot = userInfo().uid === 0;
const repository = new URL('../..', import.meta.url).pathname;
let root: string;
let stop: () => Promise<void>;
let host: TestSession;

/** The program that users get: it needs no library, which a sanitizer would. */
async function fillRoot(): Promise<void> {
  await promisify(execFile)('sh', [join(repository, 'scripts/build-native.sh')], { cwd: repository });
  await Promise.all(['bin', 'dev', 'etc'].map((name) => mkdir(join(root, name))));
  await copyFile(join(repository, 'dist/native/agent'), join(root, 'bin/agent'));
  await writeFile(join(root, 'dev/null'), '');
  await writeFile(join(root, 'etc/passwd'), 'root:x:0:0::/:/bin/missing-shell\nagent:x:0:0::/:/bin/agent\nbroken:x:0:0::/:/etc/passwd\n');
  await writeFile(join(root, 'etc/hosts'), '127.0.0.1 only4\n::1 only6\n127.0.0.9 several\n127.0.0.1 several\n');
  // Nobody answers there; names that no file knows end soon.
  await writeFile(join(root, 'etc/resolv.conf'), 'nameserver 127.1.2.3\noptions timeout:1 attempts:1\n');
  await writeFile(join(root, 'config'), `token ${testToken.toString('hex')}\n`);
}

beforeAll(async () => {
  if (!isRoot) return;
  root = await mkdtemp(join(tmpdir(), 'banger-bare-'));
  await fillRoot();
  const child = spawn('chroot', [root, '/bin/agent', 'serve', '--config', '/config', '--listen', '/agent.sock'], { stdio: 'ignore', env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  stop = async () => {
    child.kill();
    await exited;
  };
  await until(() => existsSync(join(root, 'agent.sock')) || child.exitCode !== null, 'the agent to listen');
  host = await openTestSession(join(root, 'agent.sock'));
  await host.ready();
});
beforeEach((ctx) => {
  if (!isRoot) ctx.skip('only root can give the agent a root directory of its own');
});
afterAll(async () => {
  if (!isRoot) return;
  host.session.close();
  await stop();
  await rm(root, { recursive: true });
});

const line = async (text: string, user?: string) => collect(await run(host.session, [], { line: text, ...(user === undefined ? {} : { user }) }));
const dial = (name: string, port: number) => openDial(host.session, { host: name, port }, { subject: 'devbox', signal: idle });

it('splits a line into words and runs them', async () => {
  const version = { stdout: '0.1.0 protocol 2\n', stderr: '', exit: { code: 0 } };
  expect(await line(`agent '--version'`)).toEqual(version);
  expect(await line(` /bin/a"gen"t \\--version\n`)).toEqual(version);
  // A file that is there but no program is no shell either.
  expect(await line('agent --version', 'broken')).toEqual(version);
  expect(await line('')).toEqual({ stdout: '', stderr: '', exit: { code: 0 } });
});

it('refuses what needs a shell, and says so', async () => {
  expect(await line('agent --version > /etc/out; id')).toEqual({
    stdout: '', stderr: 'banger: the guest has no shell for ">" in: agent --version > /etc/out; id\n', exit: { code: 127 },
  });
  expect(await line('cd /tmp')).toEqual({ stdout: '', stderr: 'banger: cd: not found\n', exit: { code: 127 } });
});

it('asks the shell that there is', async () => {
  // The account's shell is the agent, which takes no -c.
  expect(await line('agent --version', 'agent')).toMatchObject({ stdout: '', stderr: expect.stringContaining('usage: agent') as string, exit: { code: 2 } });
});

it('runs words of a login directly', async () => {
  const result = await collect(await run(host.session, ['agent', '--version'], { login: true }));
  expect(result).toEqual({ stdout: '0.1.0 protocol 2\n', stderr: '', exit: { code: 0 } });
  const shell = await collect(await run(host.session, []));
  expect(shell).toEqual({ stdout: '', stderr: 'banger: /bin/sh: not found\n', exit: { code: 127 } });
});

it('finds names in the hosts file, and tries every address of one', async () => {
  const server = createServer((socket) => socket.end('hello'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  for (const name of ['only4', 'several']) {
    const stream = await dial(name, port);
    expect(Buffer.concat(await stream.toArray() as Buffer[]).toString()).toBe('hello');
  }
  expect(await failureOf(dial('only6', port))).toMatchObject({ code: 'operation_failed', message: `cannot connect to only6:${port} in devbox: Connection refused` });
  server.close();
  expect(await failureOf(dial('several', port))).toMatchObject({ code: 'operation_failed', message: `cannot connect to several:${port} in devbox: Connection refused` });
});

it('says when nobody answers for a name', async () => {
  // A name server of this host that listens on every address answers after all.
  expect(await failureOf(dial('nowhere', 80))).toMatchObject({
    message: expect.stringMatching(/^cannot connect to nowhere:80 in devbox: (the guest's name server does not answer|no such host in the guest)$/) as string,
  });
});
