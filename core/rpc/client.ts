// The typed client. On the command line's hot path: it imports node:net, core/errors.ts and nothing heavier, and no json-rpc-2.0, whose
// seven files take longer to load than a call takes.
import { connect as connectSocket } from 'node:net';
import type { Socket } from 'node:net';
import { BangerError, cancelled, timedOut } from '../errors.ts';
import type { ProgressNotice } from '../api.ts';
import type { FrameStream } from '../plugin-api.ts';
import { createFrameStream } from './frame-stream.ts';
import type { RpcMethodName, RpcMethods } from './methods.ts';
import { LineReader, parseJsonLine } from './protocol.ts';
import { fromErrorBody } from './wire-error.ts';

/** Longest answer taken; far above any real one. */
const maxAnswerBytes = 64 * 1024 * 1024;
const defaultConnectMs = 5_000;

export interface CallOptions {
  /** Asks the daemon to cancel; the call then ends with the daemon's answer, usually `cancelled`, once what was begun is undone. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((notice: ProgressNotice) => void) | undefined;
  /** Fails with `timeout` after this long and asks the daemon to cancel. @default no limit */
  readonly timeoutMs?: number | undefined;
}

export interface RpcClient {
  /**
   * Calls a built-in method. Calls may overlap; those made in one turn of the event loop leave in one write.
   * @throws BangerError with the daemon's code, hint and detail, the op id in `detail.opId`; daemon_unreachable when the connection is lost
   */
  call<M extends RpcMethodName>(method: M, params: RpcMethods[M]['params'], options?: CallOptions): Promise<RpcMethods[M]['result']>;
  /** Calls any method, such as a plugin's. */
  callAny(method: string, params: object, options?: CallOptions): Promise<unknown>;
  /** Sends what is waiting, then closes; calls without an answer fail with `daemon_unreachable`. */
  close(): void;
  /** Called once, also when already closed. Returns an unregister function. */
  onClose(listener: () => void): () => void;
}

/** @throws daemon_unreachable when nobody answers on the socket within `timeoutMs` (5 s) */
export async function connect(socketPath: string, options: { readonly timeoutMs?: number } = {}): Promise<RpcClient> {
  return new SocketClient(await openSocket(socketPath, options.timeoutMs));
}

/**
 * Opens a connection of its own for the byte stream behind a ticket.
 *
 * A ticket that the daemon does not know ends the stream with an `exit` frame that holds `{error}`.
 * @throws daemon_unreachable
 */
export async function attach(socketPath: string, ticket: string, options: { readonly timeoutMs?: number } = {}): Promise<FrameStream> {
  const socket = await openSocket(socketPath, options.timeoutMs);
  socket.write(`${JSON.stringify({ attach: ticket })}\n`);
  return createFrameStream(socket, { onPeerEnd: 'destroy' });
}

interface Pending {
  readonly onProgress: ((notice: ProgressNotice) => void) | undefined;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

class SocketClient implements RpcClient {
  readonly #socket: Socket;
  readonly #reader = new LineReader(maxAnswerBytes);
  readonly #pending = new Map<number, Pending>();
  readonly #closeListeners = new Set<() => void>();
  #nextId = 1;
  #out = '';
  #failure: BangerError | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('end', () => this.#fail(unreachable('The daemon closed the connection')));
    socket.on('error', (error) => this.#fail(unreachable('The connection to the daemon broke', error)));
    socket.on('close', () => this.#fail(unreachable('The daemon closed the connection')));
  }

  call<M extends RpcMethodName>(method: M, params: RpcMethods[M]['params'], options?: CallOptions): Promise<RpcMethods[M]['result']> {
    return this.callAny(method, params, options) as Promise<RpcMethods[M]['result']>;
  }

  callAny(method: string, params: object, options: CallOptions = {}): Promise<unknown> {
    const { signal, timeoutMs, onProgress } = options;
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      if (signal?.aborted) return reject(cancelled(`Call ${method}`));
      const id = this.#nextId;
      this.#nextId += 1;
      const cancel = (): void => this.#send({ jsonrpc: '2.0', method: 'rpc.cancel', params: { id } });
      const timer = timeoutMs === undefined ? undefined : setTimeout(() => {
        cancel();
        this.#settle(id)?.reject(timedOut('the daemon', timeoutMs, method));
      }, timeoutMs);
      const release = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', cancel);
      };
      signal?.addEventListener('abort', cancel, { once: true });
      this.#pending.set(id, {
        onProgress,
        resolve: (value) => (release(), resolve(value)),
        reject: (error) => (release(), reject(error)),
      });
      this.#send({ jsonrpc: '2.0', id, method, params });
    });
  }

  close(): void {
    this.#flush();
    this.#socket.end(() => this.#socket.destroy());
    this.#fail(unreachable('The connection was closed by us'));
  }

  onClose(listener: () => void): () => void {
    if (this.#failure === undefined) this.#closeListeners.add(listener);
    else queueMicrotask(listener);
    return () => void this.#closeListeners.delete(listener);
  }

  #send(message: object): void {
    if (this.#failure !== undefined) return;
    if (this.#out === '') process.nextTick(() => this.#flush());
    this.#out += `${JSON.stringify(message)}\n`;
  }

  #flush(): void {
    if (this.#out !== '' && this.#socket.writable) this.#socket.write(this.#out);
    this.#out = '';
  }

  #onData(chunk: Buffer): void {
    this.#reader.push(chunk);
    for (let line = this.#reader.next(); line !== undefined; line = this.#reader.next()) {
      if (line.length === 0) continue; // the daemon's way to find out whether we are there
      try {
        this.#onMessage(parseJsonLine(line) as Readonly<Record<string, unknown>>);
      } catch (error) {
        this.#fail(unreachable('The daemon sent something that is no answer', error));
        return;
      }
    }
    if (this.#reader.overflowed) this.#fail(unreachable(`The daemon sent an answer of more than ${maxAnswerBytes} bytes`));
  }

  #onMessage(message: Readonly<Record<string, unknown>>): void {
    const { id, method } = message;
    if (method === 'rpc.progress') {
      this.#onProgress(message['params'] as ProgressNotice);
    } else if (typeof id === 'number') {
      // A late answer to a call that timed out finds nobody.
      const pending = this.#settle(id);
      if (message['error'] === undefined) pending?.resolve(message['result']);
      else pending?.reject(fromErrorBody(message['error']));
    } else if (id === null) {
      // Not about one call: the daemon refuses this connection.
      this.#fail(fromErrorBody(message['error']));
    }
  }

  #onProgress(notice: ProgressNotice): void {
    const id = notice.id as number;
    try {
      this.#pending.get(id)?.onProgress?.(notice);
    } catch (error) {
      // The caller's fault, so the caller's call, not the connection.
      this.#settle(id)?.reject(error as Error);
    }
  }

  #settle(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    return pending;
  }

  /** Only the first reason counts. */
  #fail(error: BangerError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    if (!this.#socket.writableEnded) this.#socket.destroy();
    for (const pending of this.#pending.values()) pending.reject(error);
    this.#pending.clear();
    for (const listener of this.#closeListeners) listener();
    this.#closeListeners.clear();
  }
}

function openSocket(path: string, timeoutMs = defaultConnectMs): Promise<Socket> {
  return new Promise((resolve, reject) => {
    // Half-open, so that the other side's end does not cut off what is still to be handled here.
    const socket = connectSocket({ path, allowHalfOpen: true });
    const timer = setTimeout(() => socket.destroy(unreachable(`The daemon did not answer on ${path} within ${timeoutMs} ms`)), timeoutMs);
    const onError = (error: Error): void => {
      clearTimeout(timer);
      reject(error instanceof BangerError ? error : unreachable(`No daemon answers on ${path}`, error));
    };
    socket.once('error', onError);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.off('error', onError);
      resolve(socket);
    });
  });
}

function unreachable(message: string, cause?: unknown): BangerError {
  const reason = (cause as NodeJS.ErrnoException | undefined)?.code;
  return new BangerError('daemon_unreachable', message, { cause, ...(reason === undefined ? {} : { detail: { reason } }) });
}
