// A real RPC server on a real socket in a directory of its own, and a client that can say anything, well-formed or not.
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect as connectSocket } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { z } from 'zod';
import type { Logger, RpcMethod } from '../../core/plugin-api.ts';
import { connect } from '../../core/rpc/client.ts';
import type { RpcClient } from '../../core/rpc/client.ts';
import { createRegistry } from '../../core/rpc/registry.ts';
import { createRpcServer } from '../../core/rpc/server.ts';
import type { RpcServer, RpcServerOptions } from '../../core/rpc/server.ts';
import { waitFor } from './wait.ts';

export interface LogLine { readonly level: string; readonly fields: Readonly<Record<string, unknown>>; readonly message: string | undefined }

export function memoryLog(lines: LogLine[], bound: object = {}): Logger {
  const at = (level: string) => (fields: object | string, message?: string): void => {
    if (typeof fields === 'string') lines.push({ level, fields: { ...bound }, message: fields });
    else lines.push({ level, fields: { ...bound, ...fields }, message });
  };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'), child: (fields) => memoryLog(lines, { ...bound, ...fields }) };
}

// oxlint-disable-next-line typescript/no-explicit-any -- methods of all params and results
type AnyMethod = RpcMethod<any, any>;

/** A method with free params and result, for tests that are about something else. */
export function method(handler: AnyMethod['handler'], more: Partial<AnyMethod> = {}): AnyMethod {
  return {
    summary: 'For a test', effect: 'read', result: z.any(),
    params: z.strictObject({ value: z.any().optional() }), handler, ...more,
  };
}

export interface Fixture {
  readonly server: RpcServer;
  readonly socketPath: string;
  readonly log: LogLine[];
  readonly connect: () => Promise<RpcClient>;
  readonly raw: () => Promise<RawClient>;
}

/** Serves `ping` and what is given; everything ends with the test. */
export async function startRpc(methods: Readonly<Record<string, AnyMethod>> = {}, options: Partial<RpcServerOptions> = {}): Promise<Fixture> {
  const dir = await mkdtemp(join(tmpdir(), 'banger-rpc-'));
  const socketPath = join(dir, 's');
  const log: LogLine[] = [];
  const registry = createRegistry();
  registry.register('test', 'ping', method(() => ({ pong: true })));
  for (const [name, value] of Object.entries(methods)) registry.register('test', name, value);
  registry.freeze();
  const server = createRpcServer({ registry, socketPath, log: memoryLog(log), hello: { build: 'b1', version: '9.9.9', idle: () => true }, ...options });
  await server.listen();
  const clients: { close(): void }[] = [];
  onTestFinished(async () => {
    for (const client of clients) client.close();
    await server.close();
    await rm(dir, { recursive: true });
  });
  return {
    server, socketPath, log,
    connect: async () => {
      const client = await connect(socketPath);
      clients.push(client);
      return client;
    },
    raw: async () => {
      const client = await rawClient(socketPath);
      clients.push(client);
      return client;
    },
  };
}

export interface Reply {
  readonly id?: number | string | null;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look into whatever came
  readonly result?: any;
  readonly error?: { readonly code: number; readonly message: string; readonly data: { readonly code: string; readonly opId: string; readonly hint?: string; readonly detail?: Readonly<Record<string, unknown>> } };
}
export interface RawClient {
  readonly socket: Socket;
  readonly replies: Reply[];
  /** Whether the server has ended or cut the connection. */
  ended(): boolean;
  send(text: string | Buffer): void;
  /** Sends a request of JSON-RPC and waits for its reply. */
  ask(method: string, params?: object, id?: number | string): Promise<Reply>;
  nextReply(): Promise<Reply>;
  untilEnded(): Promise<void>;
  close(): void;
}

export async function rawClient(socketPath: string): Promise<RawClient> {
  const socket = connectSocket({ path: socketPath });
  await once(socket, 'connect');
  const replies: Reply[] = [];
  let taken = 0;
  let pieces: string[] = [];
  let ended = false;
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    const [first = '', ...others] = chunk.split('\n');
    pieces.push(first);
    for (const next of others) {
      const line = pieces.join('');
      pieces = [next];
      if (line !== '') replies.push(JSON.parse(line) as Reply);
    }
  });
  socket.on('end', () => { ended = true; });
  socket.on('close', () => { ended = true; });
  socket.on('error', () => { ended = true; });
  let nextId = 1000;
  // Driven by what arrives, not by polling; the test's own time limit is the limit.
  const until = async <T>(probe: () => T | undefined): Promise<T> => {
    for (;;) {
      const value = probe();
      if (value !== undefined) return value;
      if (ended) throw new Error('the connection ended before the reply came');
      await Promise.race([once(socket, 'data'), once(socket, 'close')]);
    }
  };
  const client: RawClient = {
    socket, replies,
    ended: () => ended,
    send: (data) => void socket.write(data),
    ask: (name, params, id) => {
      const used = id ?? nextId++;
      client.send(`${JSON.stringify({ jsonrpc: '2.0', id: used, method: name, params })}\n`);
      return until(() => replies.find((reply) => reply.id === used));
    },
    nextReply: () => until(() => replies[taken]).then((reply) => (taken += 1, reply)),
    untilEnded: () => waitFor('the end of the connection', () => ended).then(() => {}),
    close: () => void socket.destroy(),
  };
  return client;
}
