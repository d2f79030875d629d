// OpenSSH's and others' clients against a host of the tests, by the configuration that banger writes.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createServer, connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Host } from './host.ts';

export interface ToolResult { readonly code: number; readonly stdout: Buffer; readonly out: string; readonly err: string }
export interface ToolOptions {
  readonly input?: string | Buffer;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}
export interface SshTools {
  /** For ssh, scp and sftp `-F` is put in; git and rsync get it by their own means. */
  run(program: string, args: readonly string[], options?: ToolOptions): Promise<ToolResult>;
  /** Ended with `stop`. */
  start(program: string, args: readonly string[], options?: ToolOptions): ChildProcess;
  stop(): void;
  readonly configFile: string;
}

const limitMs = 120_000;

export function sshTools(host: Host): SshTools {
  const configFile = join(host.stateDir, 'plugins', 'ssh', 'config');
  const children = new Set<ChildProcess>();
  const start = (program: string, args: readonly string[], { env, cwd }: ToolOptions = {}): ChildProcess => {
    const own = /^(ssh|scp|sftp)$/.test(program) ? ['-F', configFile, '-o', 'BatchMode=yes', ...args] : args;
    const child = spawn(program, own, { cwd: cwd ?? host.dir, env: { ...host.env, GIT_SSH_COMMAND: `ssh -F ${configFile}`, ...env }, stdio: 'pipe' });
    child.stdin.on('error', () => undefined); // it may end before it has read everything
    children.add(child);
    child.on('close', () => children.delete(child));
    return child;
  };
  return {
    configFile, start,
    run: (program, args, options = {}) => new Promise((resolve, reject) => {
      const child = start(program, args, options);
      const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []];
      const timer = setTimeout(() => child.kill('SIGKILL'), limitMs);
      child.stdout!.on('data', (chunk: Buffer) => stdout.push(chunk));
      child.stderr!.on('data', (chunk: Buffer) => stderr.push(chunk));
      child.stdin!.end(options.input ?? '');
      child.on('error', reject);
      child.on('close', (code) => {
        clearTimeout(timer);
        const all = Buffer.concat(stdout);
        resolve({ code: code ?? -1, stdout: all, out: all.toString('utf8'), err: Buffer.concat(stderr).toString('utf8') });
      });
    }),
    stop() {
      for (const child of children) child.kill('SIGKILL');
    },
  };
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => { server.once('listening', resolve); });
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => { server.close(() => resolve()); });
  return port;
}

/** Sends a text and its end, answers with all that comes back. */
export function ask(where: { readonly port: number; readonly host: string } | { readonly path: string }, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect({ ...where, allowHalfOpen: true }, () => socket.end(text));
    socket.setTimeout(20_000, () => socket.destroy(new Error('no answer')));
    socket.on('data', (chunk: Buffer) => { answer += chunk.toString(); });
    socket.on('end', () => { socket.destroy(); resolve(answer); });
    socket.on('error', reject);
  });
}

/** The same through SOCKS5, the name resolved at the other end. */
export function askBySocks(socks: number, port: number, text: string): Promise<string> {
  const answers = 12; // both of SOCKS, as ssh gives them
  return new Promise((resolve, reject) => {
    const host = Buffer.from('localhost');
    let bytes = Buffer.alloc(0);
    const socket = connect({ host: '127.0.0.1', port: socks, allowHalfOpen: true }, () => {
      socket.write(Buffer.concat([Buffer.from([5, 1, 0, 5, 1, 0, 3, host.length]), host, Buffer.from([port >> 8, port & 255])]));
    });
    socket.setTimeout(20_000, () => socket.destroy(new Error('no answer')));
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      // Not earlier: ssh takes an end before it has connected for a client that has left.
      if (bytes.length >= answers && !socket.writableEnded) socket.end(text);
    });
    socket.on('end', () => { socket.destroy(); resolve(bytes.subarray(answers).toString()); });
    socket.on('error', reject);
  });
}

/** Echoes in upper case once the client has ended its side. */
export async function upperServer(): Promise<{ readonly port: number; close(): void }> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let text = '';
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => { text += chunk.toString(); });
    socket.on('end', () => socket.end(text.toUpperCase()));
  });
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return { port: (server.address() as AddressInfo).port, close: () => { server.close(); } };
}
