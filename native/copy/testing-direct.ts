// What the tests of the direct way share: this process plays QEMU, and sockets stand for ports.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect } from 'vitest';
import { waitFor } from '../../test/support/wait.ts';

export const hello = '00ff10203040506070008090a0b0c0d0';
export const helloBytes = Buffer.from(hello, 'hex');
export const limits = ['--stall', '60000', '--floor', '1024'];

/** A program with what it says, and how it ended. */
export class Running {
  readonly child: ChildProcess;
  err = '';
  progress = '';
  readonly #over: Promise<unknown[]>;
  constructor(child: ChildProcess) {
    this.child = child;
    this.#over = once(child, 'close');
    child.stderr!.on('data', (bytes: Buffer) => void (this.err += bytes.toString()));
    (child.stdio[3] as Socket | undefined)?.on('data', (bytes: Buffer) => void (this.progress += bytes.toString()));
    child.stdin?.on('error', () => undefined);
  }
  /** The exit code, or the signal. */
  async over(): Promise<unknown> {
    const [code, signal] = await this.#over;
    expect(this.err).not.toMatch(/Sanitizer|runtime error/);
    return code ?? signal;
  }
  said(line: RegExp): Promise<unknown> {
    return waitFor(`a line ${line} of progress`, () => line.test(this.progress));
  }
  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }
}

/** Bytes that came from a socket; it is read whether somebody looks or not. */
export function collect(socket: Socket): { bytes: Buffer; over: boolean; length(n: number): Promise<unknown> } {
  const got = { bytes: Buffer.alloc(0), over: false, length: (n: number) => waitFor(`${n} bytes`, () => got.bytes.length >= n) };
  socket.on('data', (chunk: Buffer) => void (got.bytes = Buffer.concat([got.bytes, chunk])));
  socket.on('close', () => void (got.over = true));
  return got;
}

/** It has handlers of HUP, INT and TERM. */
export const caught = (running: Running): boolean => (Number.parseInt(/^SigCgt:\s+(\w+)$/m.exec(readFileSync(`/proc/${running.child.pid}/status`, 'utf8'))![1]!.slice(-4), 16) & 0x4003) === 0x4003;

/** Both ends of copies by one program, with sockets in `dir`. */
export class Ends {
  readonly #program: string;
  readonly #dir: string;
  readonly #all: Running[] = [];
  readonly #servers: Server[] = [];
  #sockets = 0;
  constructor(program: string, dir: string) {
    this.#program = program;
    this.#dir = dir;
  }

  keep(running: Running): Running {
    this.#all.push(running);
    return running;
  }

  /** Ends what a failed test has left. */
  clear(): void {
    for (const one of this.#all.splice(0)) if (one.running) one.child.kill('SIGKILL');
    for (const server of this.#servers.splice(0)) server.close();
  }

  /** What QEMU has for a port: a socket that listens. */
  async chardev(): Promise<{ path: string; client: Promise<Socket> }> {
    const path = join(this.#dir, `chardev-${this.#sockets++}`);
    const server = createServer({ pauseOnConnect: true });
    this.#servers.push(server);
    const client = once(server, 'connection').then(([socket]) => (socket as Socket).on('error', () => undefined));
    server.listen(path);
    await once(server, 'listening');
    return { path, client };
  }

  host(path: string, args: readonly string[], wait: readonly string[] = limits): Running {
    const words = [args[0]!, '--socket', path, '--hello', hello, ...wait, '--progress-fd', '3', ...args.slice(1)];
    return this.keep(new Running(spawn(this.#program, words, { stdio: ['pipe', 'ignore', 'pipe', 'pipe'] })));
  }

  /** The guest's end, and the other side of its port; the host that it waits for has come, unless `hosts` is false. */
  async guest(args: readonly string[], hosts = true): Promise<{ end: Running; port: Socket }> {
    const { path, client } = await this.chardev();
    const own = connect(path).pause();
    await once(own, 'connect');
    const port = await client;
    const stdio = args[0] === 'send' ? (['ignore', own, 'pipe'] as const) : ([own, 'ignore', 'pipe'] as const);
    const child = spawn(this.#program, [args[0]!, '--port', hello, ...args.slice(1)], { stdio: [...stdio] });
    own.destroy();
    if (hosts) port.write(helloBytes);
    return { end: this.keep(new Running(child)), port };
  }

  /** A host's end that is connected and was greeted. */
  async greeted(args: readonly string[], wait = limits): Promise<{ end: Running; socket: Socket }> {
    const { path, client } = await this.chardev();
    const running = this.host(path, args, wait);
    const socket = await client;
    socket.resume();
    socket.write(helloBytes);
    return { end: running, socket };
  }

  /** Both ends, joined as QEMU joins them: a host that leaves is seen by the guest, a guest that leaves is not seen by the host. */
  async joined(from: readonly string[], to: readonly string[], into: 'guest' | 'host'): Promise<{ host: Running; guest: Running }> {
    const inside = await this.guest(into === 'guest' ? to : from, false);
    const { path, client } = await this.chardev();
    const outside = this.host(path, into === 'guest' ? from : to);
    const socket = await client;
    inside.port.pipe(socket, { end: false });
    socket.pipe(inside.port);
    socket.resume();
    inside.port.resume();
    return { host: outside, guest: inside.end };
  }
}
