// The RPC server: accepts clients on one unix socket and keeps all of them within bounds.
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { busy } from '../errors.ts';
import type { Logger } from '../plugin-api.ts';
import { createBuiltinMethods } from './builtin.ts';
import type { HelloInfo } from './builtin.ts';
import { Connection } from './connection.ts';
import { cancelledCall, createDispatcher } from './dispatch.ts';
import type { Call, Dispatcher, OperationRunner } from './dispatch.ts';
import { defaultLimits } from './limits.ts';
import type { RpcLimits } from './limits.ts';
import { createOpId } from '../ids.ts';
import type { MethodRegistry } from './registry.ts';
import { listenOnSocket } from './socket.ts';
import { createTickets } from './tickets.ts';
import { toErrorBody } from './wire-error.ts';

export interface RpcServerOptions {
  /** Frozen before `listen`. */
  readonly registry: MethodRegistry;
  /** At most 107 bytes. Its directory exists and belongs to us. */
  readonly socketPath: string;
  readonly log: Logger;
  readonly hello: HelloInfo;
  readonly limits?: Partial<RpcLimits>;
  /** Runs the calls of methods that have `operation`. */
  readonly operationRunner?: OperationRunner;
}

export interface RpcServerStats {
  readonly clients: number;
  /** Running calls, those of clients that are gone included. */
  readonly calls: number;
  /** Streams announced and not yet attached. */
  readonly tickets: number;
  readonly bufferedInputBytes: number;
  readonly bufferedOutputBytes: number;
}

export interface RpcServer {
  /** @throws busy when another daemon answers on the socket; operation_failed when the path cannot be bound */
  listen(): Promise<void>;
  /**
   * Accepts nobody any more, aborts running calls (those of clients that are gone too), waits a while for their answers to leave, then drops what is left. Safe to call twice.
   * A handler must not await this: its own call is among those waited for.
   */
  close(): Promise<void>;
  /** Open connections, byte streams included. */
  clients(): number;
  stats(): RpcServerStats;
  /** Called with `true` when the last client has left and its last call ended, with `false` when the first one comes. Returns an unregister function. */
  onIdleChange(listener: (idle: boolean) => void): () => void;
}

export function createRpcServer(options: RpcServerOptions): RpcServer {
  return new SocketServer(options);
}

class SocketServer implements RpcServer {
  readonly #options: RpcServerOptions;
  readonly #limits: RpcLimits;
  readonly #tickets;
  readonly #connections = new Map<string, Connection>();
  readonly #idleListeners = new Set<(idle: boolean) => void>();
  // Half-open: a client may stop sending and still wait for its answers.
  readonly #server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  #dispatcher: Dispatcher | undefined;
  #sweeper: NodeJS.Timeout | undefined;
  #nextId = 1;
  /** Those of clients that are gone included. */
  readonly #calls = new Map<Call, string>();
  #onLastCall = (): void => {};
  #idle = true;
  #closing: Promise<void> | undefined;

  constructor(options: RpcServerOptions) {
    this.#options = options;
    this.#limits = { ...defaultLimits, ...options.limits };
    this.#tickets = createTickets({ ticketMs: this.#limits.ticketMs, maxPerPeer: this.#limits.maxTicketsPerPeer, log: options.log });
  }

  async listen(): Promise<void> {
    const { registry, log, hello, operationRunner } = this.#options;
    if (!registry.frozen) throw new Error('The method registry must be frozen before the server listens');
    const builtin = createBuiltinMethods({
      hello,
      registered: () => registry.list(),
      refuseCalls: (peerId, error) => this.#connections.get(peerId)?.refuseCalls(error),
    });
    this.#dispatcher = this.#counting(createDispatcher({ methods: [...builtin, ...registry.list()], log, operationRunner }));
    await listenOnSocket(this.#server, this.#options.socketPath);
    this.#server.on('error', (error) => log.error({ err: error }, 'the listening socket failed'));
    this.#sweeper = setInterval(() => this.#sweep(), this.#limits.sweepMs);
    this.#sweeper.unref();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  clients(): number {
    return this.#connections.size;
  }

  stats(): RpcServerStats {
    let bufferedInputBytes = 0;
    let bufferedOutputBytes = 0;
    for (const connection of this.#connections.values()) {
      bufferedInputBytes += connection.bufferedInputBytes;
      bufferedOutputBytes += connection.bufferedOutputBytes;
    }
    return { clients: this.clients(), calls: this.#calls.size, tickets: this.#tickets.size, bufferedInputBytes, bufferedOutputBytes };
  }

  onIdleChange(listener: (idle: boolean) => void): () => void {
    this.#idleListeners.add(listener);
    return () => void this.#idleListeners.delete(listener);
  }

  #counting(dispatcher: Dispatcher): Dispatcher {
    return {
      begin: (request, origin) => {
        const call = dispatcher.begin(request, origin);
        this.#calls.set(call, request.method);
        return call;
      },
    };
  }

  #accept(socket: Socket): void {
    const id = `c${this.#nextId}`;
    this.#nextId += 1;
    const connection = new Connection(id, socket, {
      dispatcher: this.#dispatcher as Dispatcher,
      tickets: this.#tickets,
      limits: this.#limits,
      log: this.#options.log,
      callEnded: (call) => {
        this.#calls.delete(call);
        if (this.#calls.size === 0) this.#onLastCall();
        this.#updateIdle();
      },
      closed: () => {
        this.#connections.delete(id);
        this.#updateIdle();
      },
    });
    this.#connections.set(id, connection);
    this.#updateIdle();
    if (this.#connections.size <= this.#limits.maxConnections) return;
    connection.refuse(toErrorBody(busy('The daemon', `${this.#limits.maxConnections} clients are connected`), createOpId()));
    // Refused ones linger for a moment to read why, but not without a bound either.
    if (this.#connections.size > this.#limits.maxConnections * 2) connection.destroy();
  }

  #sweep(): void {
    const now = Date.now();
    let total = 0;
    let largest: Connection | undefined;
    for (const connection of this.#connections.values()) {
      connection.sweep(now);
      const bytes = connection.bufferedInputBytes + connection.bufferedOutputBytes;
      total += bytes;
      if (largest === undefined || bytes > largest.bufferedInputBytes + largest.bufferedOutputBytes) largest = connection;
    }
    if (total <= this.#limits.maxBufferedBytes || largest === undefined) return;
    this.#options.log.warn({ peer: largest.peer.id, bytes: total }, 'too many bytes are buffered for clients; dropping the one with most');
    largest.destroy();
    setImmediate(() => this.#sweep());
  }

  #updateIdle(): void {
    const idle = this.#connections.size === 0 && this.#calls.size === 0;
    if (idle === this.#idle) return;
    this.#idle = idle;
    for (const listener of this.#idleListeners) listener(idle);
  }

  async #close(): Promise<void> {
    const stopped = new Promise<void>((resolve) => {
      this.#server.close(() => resolve()); // an error means it never listened
    });
    const callsEnded = this.#calls.size === 0 ? undefined : new Promise<void>((resolve) => {
      this.#onLastCall = resolve;
    });
    this.#tickets.close();
    for (const [call, method] of this.#calls) call.abort(cancelledCall(method));
    for (const connection of this.#connections.values()) connection.shutdown();
    const limit = setTimeout(() => {
      for (const connection of this.#connections.values()) connection.destroy();
      this.#onLastCall();
    }, this.#limits.closeMs);
    await Promise.all([stopped, callsEnded]);
    clearTimeout(limit);
    clearInterval(this.#sweeper);
  }
}
