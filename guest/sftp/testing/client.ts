// Packets of SFTP version 3, and a server process that answers them in order.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';

export const TYPE = {
  init: 1, version: 2, open: 3, close: 4, read: 5, write: 6, lstat: 7, fstat: 8, setstat: 9, fsetstat: 10, opendir: 11, readdir: 12, remove: 13, mkdir: 14,
  rmdir: 15, realpath: 16, stat: 17, rename: 18, readlink: 19, symlink: 20, status: 101, handle: 102, data: 103, name: 104, attrs: 105, extended: 200,
  extendedReply: 201,
} as const;
export const STATUS = { ok: 0, eof: 1, noSuchFile: 2, permissionDenied: 3, failure: 4, badMessage: 5, unsupported: 8 } as const;
export const OPEN = { read: 1, write: 2, append: 4, create: 8, truncate: 16, exclusive: 32 } as const;

export interface Attributes {
  readonly size?: bigint;
  readonly owner?: readonly [uid: number, gid: number];
  readonly mode?: number;
  readonly times?: readonly [atime: number, mtime: number];
  readonly extended?: readonly (readonly [type: string, data: string])[];
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

export function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt.asUintN(64, value));
  return bytes;
}

export function text(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value as string);
  return Buffer.concat([u32(bytes.length), bytes]);
}

export function attributes({ size, owner, mode, times, extended }: Attributes = {}): Buffer {
  const flags = (size === undefined ? 0 : 1) | (owner ? 2 : 0) | (mode === undefined ? 0 : 4) | (times ? 8 : 0) | (extended ? 0x80000000 : 0);
  return Buffer.concat([
    u32(flags),
    ...(size === undefined ? [] : [u64(size)]),
    ...(owner ? owner.map(u32) : []),
    ...(mode === undefined ? [] : [u32(mode)]),
    ...(times ? times.map(u32) : []),
    ...(extended ? [u32(extended.length), ...extended.flat().map(text)] : []),
  ]);
}

/** A packet's bytes behind its length. */
export const body = (type: number, id: number, ...fields: readonly Buffer[]): Buffer => Buffer.concat([Buffer.from([type]), u32(id), ...fields]);

/** With its length. */
export const framed = (packet: Buffer): Buffer => Buffer.concat([u32(packet.length), packet]);

export interface ServerOptions {
  readonly cwd: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly uid?: number;
  /** Shell commands that set limits. */
  readonly limits?: string;
}

export interface Ended { readonly code: number | null; readonly signal: NodeJS.Signals | null; readonly stderr: string }

export class Server {
  readonly process: ChildProcess;
  readonly ended: Promise<Ended>;
  #received: Buffer[] = [];
  #length = 0;
  #waiting: { resolve: (reply: Buffer) => void; reject: (error: Error) => void }[] = [];
  #stderr = '';
  #gone: Error | undefined;

  constructor(command: readonly string[], { cwd, env = {}, uid, limits = ':' }: ServerOptions) {
    const identity = uid === undefined ? {} : { uid, gid: uid };
    this.process = spawn('/bin/sh', ['-c', `${limits}; exec "$@"`, 'sh', ...command], { cwd, env: { PATH: '/usr/bin:/bin', ...env }, ...identity });
    this.process.stdin!.on('error', () => undefined); // the server ends before it has read everything: `ended` tells
    this.process.stderr!.on('data', (chunk: Buffer) => (this.#stderr += chunk.toString()));
    this.process.stdout!.on('data', (chunk: Buffer) => this.#take(chunk));
    this.ended = new Promise((resolve, reject) => {
      this.process.once('error', reject);
      this.process.once('close', (code, signal) => {
        this.#gone = new Error(`${command.join(' ')} ended with ${code ?? signal}: ${this.#stderr}`);
        for (const { reject: refuse } of this.#waiting.splice(0)) refuse(this.#gone);
        resolve({ code, signal, stderr: this.#stderr });
      });
    });
  }

  #take(chunk: Buffer): void {
    this.#received.push(chunk);
    this.#length += chunk.length;
    while (this.#length >= 4) {
      let bytes = this.#received.length === 1 ? this.#received[0]! : Buffer.concat(this.#received);
      const length = 4 + bytes.readUInt32BE(0);
      if (bytes.length >= length) {
        this.#waiting.shift()?.resolve(bytes.subarray(4, length));
        bytes = bytes.subarray(length);
      }
      this.#received = [bytes];
      if (bytes.length === this.#length) return;
      this.#length = bytes.length;
    }
  }

  /** Writes bytes; what is answered to them nobody waits for. */
  write(bytes: Buffer): void {
    this.process.stdin!.write(bytes);
  }

  /** Sends all packets at once; answers in their order. */
  async ask(packets: readonly Buffer[]): Promise<Buffer[]> {
    if (this.#gone) throw this.#gone;
    const replies = packets.map(() => new Promise<Buffer>((resolve, reject) => this.#waiting.push({ resolve, reject })));
    this.write(Buffer.concat(packets.map(framed)));
    return Promise.all(replies);
  }

  async greet(): Promise<Buffer> {
    const [reply] = await this.ask([Buffer.concat([Buffer.from([TYPE.init]), u32(3)])]);
    return reply!;
  }

  /** Ends its input and waits for its end. */
  end(): Promise<Ended> {
    this.process.stdin!.end();
    return this.ended;
  }
}
