// For tests: the SSH server in this process, a "guest" that is this host, and OpenSSH's own clients with a configuration of their own.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { onTestFinished } from 'vitest';
import { notFound, notRunning, operationFailed } from '../../core/plugin-api.ts';
import type { GuestAgent, GuestExecRequest, GuestExit, GuestProcess, Vm, Vms } from '../../core/plugin-api.ts';
import { memoryLog } from './rpc-fixture.ts';
import type { LogLine } from './rpc-fixture.ts';
import { repoRoot } from './source-tree.ts';
import { openGate } from '../../plugins/ssh/gate.ts';
import { ensureClientKey, ensureHostKey, readAuthorizedKeys } from '../../plugins/ssh/keys.ts';
import { sshConfig } from '../../plugins/ssh/schema.ts';
import type { SshConfig } from '../../plugins/ssh/schema.ts';
import { createSshServer } from '../../plugins/ssh/server.ts';
import type { SshServer } from '../../plugins/ssh/server.ts';

export interface RunResult { readonly code: number; readonly stdout: Buffer; readonly out: string; readonly err: string }
export interface World {
  readonly dir: string;
  readonly gate: string;
  readonly vm: Vm;
  readonly server: SshServer;
  readonly log: readonly LogLine[];
  /** What the guest was asked to run. */
  readonly requests: readonly GuestExecRequest[];
  /** `cols x rows` of every window change, and `signal NAME`, `hangup`. */
  readonly events: readonly string[];
  readonly held: () => number;
  /** What holds VMs in use: id and words. */
  readonly used: () => (string | undefined)[];
  /** `-F` file, for tools that run ssh themselves. */
  readonly sshConfig: string;
  /** Runs a program to its end; for ssh, scp and sftp `-F` is put in. */
  run(program: string, args: readonly string[], options?: { readonly input?: string | Buffer; readonly env?: NodeJS.ProcessEnv }): Promise<RunResult>;
  start(program: string, args: readonly string[], env?: NodeJS.ProcessEnv): ChildProcess;
  /** A raw client that has said which VM it means and got its ok. */
  raw(ref?: string): Promise<Socket>;
}

const runLimitMs = 50_000;

/** `ProxyCommand`: one line to the gate, its answer, then bytes both ways. */
const proxySource = `
import { connect } from 'node:net';
const [path, ref] = process.argv.slice(2);
const socket = connect({ path, allowHalfOpen: true }, () => socket.write(ref + '\\n'));
let head = Buffer.alloc(0);
const onData = (chunk) => {
  head = Buffer.concat([head, chunk]);
  const end = head.indexOf(10);
  if (end < 0) return;
  const line = head.subarray(0, end).toString();
  socket.off('data', onData);
  if (line !== 'ok') { process.stderr.write(line + '\\n'); process.exit(1); }
  if (end + 1 < head.length) process.stdout.write(head.subarray(end + 1));
  socket.pipe(process.stdout);
  process.stdin.pipe(socket);
};
socket.on('data', onData);
socket.on('close', () => process.exit(0));
socket.on('error', (error) => { process.stderr.write(error.message + '\\n'); process.exit(1); });
`;

export async function makeWorld(options: { readonly config?: Partial<SshConfig>; readonly agent?: Partial<GuestAgent> } = {}): Promise<World> {
  const dir = mkdtempSync(join(tmpdir(), 'banger-ssh-'));
  onTestFinished(() => { rmSync(dir, { recursive: true, force: true }); });
  const vm = { id: 'abcdefabcdef', name: 'devbox', slot: 1, dir, mark: 'm', createdAt: '', spec: {} } as unknown as Vm;
  const config: SshConfig = sshConfig.parse({ ...options.config });
  const lines: LogLine[] = [];
  const requests: GuestExecRequest[] = [];
  const events: string[] = [];
  const held = new Set<symbol>();
  const used = new Set<symbol>();
  const log = memoryLog(lines);
  const clientKey = await ensureClientKey(dir);
  const hostKey = await ensureHostKey(vm);
  const vms: Pick<Vms, 'running' | 'isPaused'> = {
    isPaused: (id) => id === 'paused',
    running: async (ref) => {
      if (ref === 'stopped') throw notRunning('stopped', 'it has not been started');
      if (ref === 'paused') return { ...vm, id: 'paused', name: 'paused' };
      if (ref !== 'devbox' && ref !== vm.id) throw notFound('VM', ref);
      return vm;
    },
  };
  const server = createSshServer({
    config, log, vms,
    agent: { ...hostAgent(requests, events), ...options.agent },
    activity: { hold: (what) => { const hold = Symbol(what); held.add(hold); return () => { held.delete(hold); }; } },
    use: { hold: (id, what) => { const hold = Symbol(`${id} ${what}`); used.add(hold); return () => { used.delete(hold); }; } },
    hostKey: async (of) => (await ensureHostKey(of)).privateKey,
    authorizedKeys: () => readAuthorizedKeys(config, clientKey),
  });
  const path = join(dir, 'ssh.sock');
  const gate = await openGate({ path, server, log, vms });
  const proxy = join(dir, 'proxy.mjs');
  writeFileSync(proxy, proxySource);
  writeFileSync(join(dir, 'known_hosts'), `*.vm ${hostKey.publicKey}\n`);
  const file = join(dir, 'config');
  writeFileSync(file, [
    'Host *', `  ProxyCommand ${process.execPath} ${proxy} ${path} %h`, `  IdentityFile ${clientKey.privateKeyPath}`, '  IdentitiesOnly yes',
    `  UserKnownHostsFile ${join(dir, 'known_hosts')}`, '  GlobalKnownHostsFile /dev/null', '  StrictHostKeyChecking yes', '  User tester',
    '  BatchMode yes', '  UpdateHostKeys no', '',
  ].join('\n'));
  const children = new Set<ChildProcess>();
  onTestFinished(async () => {
    for (const child of children) child.kill('SIGKILL');
    server.close();
    await gate.close();
  });
  const start = (program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess => {
    const own = /^(ssh|scp|sftp)$/.test(program) ? ['-F', file, ...args] : args;
    const child = spawn(program, own, { env: { PATH: process.env['PATH'], HOME: dir, ...env }, stdio: 'pipe', cwd: dir });
    children.add(child);
    child.on('close', () => children.delete(child));
    child.stdin?.on('error', () => undefined); // it may end before it has read everything
    return child;
  };
  return {
    dir, gate: path, vm, server, log: lines, requests, events, held: () => held.size, used: () => [...used].map((hold) => hold.description), sshConfig: file, start,
    run: (program, args, run = {}) => collect(start(program, args, run.env), run.input),
    raw: (ref = 'devbox') => rawClient(path, ref),
  };
}

function rawClient(path: string, ref: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => socket.write(`${ref}\n`));
    onTestFinished(() => { socket.destroy(); });
    socket.once('error', reject);
    socket.once('data', (chunk: Buffer) => {
      socket.off('error', reject);
      socket.on('error', () => undefined);
      if (!chunk.toString().startsWith('ok\n')) return reject(new Error(chunk.toString()));
      if (chunk.length > 3) socket.unshift(chunk.subarray(3));
      resolve(socket);
    });
  });
}

function collect(child: ChildProcess, input: string | Buffer | undefined): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    const timer = setTimeout(() => child.kill('SIGKILL'), runLimitMs);
    child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk));
    child.stdin?.end(input ?? '');
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      const all = Buffer.concat(stdout);
      resolve({ code: code ?? -1, stdout: all, out: all.toString('utf8'), err: Buffer.concat(stderr).toString('utf8') });
    });
  });
}

/** A guest that is this host: programs run here, addresses and unix sockets are this host's. */
function hostAgent(requests: GuestExecRequest[], events: string[]): Pick<GuestAgent, 'exec' | 'dial' | 'listen'> {
  return {
    exec: async (_, request) => {
      requests.push(request);
      if (request.user === 'nobody-here') throw notFound('user', 'nobody-here');
      return runHere(request, events);
    },
    dial: (_, target) => new Promise((resolve, reject) => {
      const socket = connect({ ...('path' in target ? { path: target.path } : { host: target.host, port: target.port }), allowHalfOpen: true }, () => resolve(socket));
      socket.once('error', (error) => reject(operationFailed(error.message)));
    }),
    listen: (_, target, { onConnection }) => new Promise((resolve, reject) => {
      const sockets = createServer({ allowHalfOpen: true }, (socket) => onConnection(socket, { host: '127.0.0.1', port: socket.remotePort ?? 0 }));
      const closed = new Promise<void>((done) => { sockets.once('close', () => done()); });
      sockets.once('error', (error) => reject(operationFailed(error.message)));
      const ready = (): void => {
        const address = sockets.address();
        resolve({ closed, close: () => sockets.close(), port: typeof address === 'object' ? address?.port ?? 0 : 0 });
      };
      if ('path' in target) sockets.listen(target.path, ready);
      else sockets.listen(target.port, target.host === '*' ? '0.0.0.0' : target.host, ready);
    }),
  };
}

const sftpServers = ['/usr/lib/openssh/sftp-server', join(repoRoot, 'dist', 'native', 'agent')];

function wordsOf(request: GuestExecRequest): readonly string[] {
  if (request.builtin === true) {
    const program = sftpServers.find((one) => existsSync(one));
    if (program === undefined) throw new Error('no sftp server on this host');
    return program.endsWith('agent') ? [program, ...request.command] : [program];
  }
  if (request.line !== undefined) return ['/bin/sh', '-c', request.line];
  return request.command.length === 0 ? ['/bin/sh'] : request.command;
}

function runHere(request: GuestExecRequest, events: string[]): GuestProcess {
  const [program = '', ...args] = wordsOf(request);
  const child = spawn(program, args, { detached: true, stdio: 'pipe', env: { PATH: process.env['PATH'], ...request.env } });
  const stderr = new PassThrough();
  child.stderr.pipe(stderr);
  const exit = Promise.withResolvers<GuestExit>();
  child.once('close', (code, signal) => exit.resolve(signal === null ? { code: code ?? 0 } : { signal: signal.slice(3), number: 0 }));
  const kill = (signal: string): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, signal);
    } catch {
      // The group has ended.
    }
  };
  return {
    stdin: child.stdin, stdout: child.stdout, stderr, exit: exit.promise,
    resize: (cols, rows) => { events.push(`${cols}x${rows}`); },
    signal: (name) => { events.push(`signal ${name}`); kill(`SIG${name}`); },
    hangup: () => { events.push('hangup'); kill('SIGHUP'); },
  };
}

