// Test support: the real agent, built with sanitizers, listening on a unix socket, and sessions to it.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { BangerError, GuestExecRequest, GuestExit, GuestProcess, Logger } from '../../core/plugin-api.ts';
import { openExec } from './exec-stream.ts';
import { AgentSession } from './session.ts';
import type { BootInfo } from './session.ts';

const root = new URL('../..', import.meta.url).pathname;
export const testToken = Buffer.from('00112233445566778899aabbccddeeff', 'hex');

export const quietLog: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => quietLog };

/** Builds the agent with sanitizers; returns why it cannot, when gcc is missing. */
export async function buildTestAgent(): Promise<{ readonly path: string }> {
  await promisify(execFile)('sh', [join(root, 'scripts/build-native.sh'), '--asan'], { cwd: root });
  const path = join(root, 'dist/native/agent-asan');
  if (!existsSync(path)) throw new Error('the agent was not built');
  return { path };
}

export interface TestAgent {
  readonly socketPath: string;
  readonly child: ChildProcess;
  /** What the sanitizers and the agent said. */
  stderr(): string;
  stop(): Promise<void>;
}

/** Starts an agent that serves one connection after another, as a virtio port does. */
export async function startTestAgent(program: string, config = ''): Promise<TestAgent> {
  const dir = await mkdtemp(join(tmpdir(), 'banger-agent-'));
  const socketPath = join(dir, 'agent.sock');
  const configPath = join(dir, 'config');
  await writeFile(configPath, `token ${testToken.toString('hex')}\n${config}`);
  const child = spawn(program, ['serve', '--config', configPath, '--listen', socketPath], { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr?.on('data', (chunk: Buffer) => { stderr += chunk.toString(); });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await until(() => existsSync(socketPath) || child.exitCode !== null, 'the agent to listen');
  return {
    socketPath, child, stderr: () => stderr,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      await exited;
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** Processes that the agent has started and not yet reaped. */
export async function childCount(of: TestAgent): Promise<number> {
  const text = await readFile(`/proc/${of.child.pid}/task/${of.child.pid}/children`, 'utf8');
  return text.split(' ').filter((word) => word.trim() !== '').length;
}

export interface TestSession {
  readonly session: AgentSession;
  readonly socket: Socket;
  readonly infos: BootInfo[];
  readonly losses: { readonly error: BangerError; readonly closed: boolean }[];
  ready(count?: number): Promise<void>;
}

/** A name is there from the bind on, which is before the listen: who looks in between is refused, and tries again. */
export async function openSocket(path: string): Promise<Socket> {
  let socket: Socket | undefined;
  await until(async () => {
    const one = connect({ path });
    const error = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => one.once('connect', () => resolve(undefined)).once('error', resolve));
    if (error !== undefined && error.code !== 'ECONNREFUSED') throw error;
    socket = error === undefined ? one : undefined;
    return socket !== undefined;
  }, `${path} to take connections`);
  return socket!;
}

export async function openTestSession(path: string): Promise<TestSession> {
  const socket = await openSocket(path);
  const infos: BootInfo[] = [];
  const losses: { error: BangerError; closed: boolean }[] = [];
  const session = new AgentSession(socket, {
    token: testToken, subject: 'devbox', log: quietLog,
    onInfo: (info) => { infos.push(info); },
    onLost: (error, closed) => { losses.push({ error, closed }); },
  });
  return { session, socket, infos, losses, ready: (count = 1) => until(() => infos.length >= count && session.info !== undefined, 'the session to open') };
}

/** Waits for a condition; the limit only serves a broken test. */
export async function until(condition: () => boolean | Promise<boolean>, what: string, limitMs = 20_000): Promise<void> {
  const end = Date.now() + limitMs;
  while (!await condition()) {
    if (Date.now() > end) throw new Error(`gave up waiting for ${what}`);
    await delay(5);
  }
}

export const idle: AbortSignal = new AbortController().signal;

export function run(session: AgentSession, command: readonly string[], more: Partial<GuestExecRequest> = {}): Promise<GuestProcess> {
  return openExec(session, { command, env: {}, stdin: false, ...more }, { subject: 'devbox', signal: idle });
}

/** The error a promise fails with, taken hold of at once so that it is never unhandled. */
export function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(() => new Error('it did not fail'), (error: unknown) => error);
}

export async function collect(process: GuestProcess): Promise<{ readonly stdout: string; readonly stderr: string; readonly exit: GuestExit }> {
  const parts: [Buffer[], Buffer[]] = [[], []];
  const read = async (index: 0 | 1): Promise<void> => {
    for await (const chunk of index === 0 ? process.stdout : process.stderr) parts[index].push(chunk as Buffer);
  };
  const [exit] = await Promise.all([process.exit, read(0), read(1)]);
  return { stdout: Buffer.concat(parts[0]).toString(), stderr: Buffer.concat(parts[1]).toString(), exit };
}
