// Client of the QEMU Machine Protocol: one JSON document a line, commands answered by id, events in between.
// https://www.qemu.org/docs/master/interop/qmp-spec.html
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { cancelled, isBangerError, operationFailed, timedOut } from '../../core/plugin-api.ts';

export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
  /** When QEMU raised it, milliseconds since the epoch. */
  readonly atMs: number;
}
export interface QmpConnectOptions {
  /** Covers connecting, greeting and the negotiation. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** Registered before the first event can arrive. */
  readonly onEvent?: (event: QmpEvent) => void;
}
export interface QmpClient {
  /** @throws operation_failed with QEMU's own text; timeout. A late answer of a call given up is dropped. */
  execute(command: string, args?: object, options?: { readonly timeoutMs?: number }): Promise<unknown>;
  /** Called once, at the end of the connection; at once when it has ended. */
  onClose(listener: () => void): void;
  close(): void;
}

interface Pending { resolve(value: unknown): void; reject(error: Error): void; readonly timer: NodeJS.Timeout; readonly command: string }

/** QEMU's answers are small; more is a VMM taken over by its guest. */
const maxLineBytes = 4 * 1024 * 1024;
const defaultTimeoutMs = 5000;

/** Connects and negotiates. @throws timeout; cancelled; operation_failed when the VMM is gone or refuses */
export async function connectQmp(path: string, options: QmpConnectOptions): Promise<QmpClient> {
  const session = new QmpSession(connect({ path }), options.onEvent);
  const cancel = (): void => session.fail(cancelled('Connecting to the VMM'));
  const timer = setTimeout(() => session.fail(timedOut('the VMM to answer', options.timeoutMs)), options.timeoutMs);
  options.signal?.addEventListener('abort', cancel, { once: true });
  if (options.signal?.aborted) cancel();
  try {
    await session.greeting;
    await session.execute('qmp_capabilities', {}, { timeoutMs: options.timeoutMs });
    return session;
  } catch (error) {
    session.close();
    throw error;
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', cancel);
  }
}

class QmpSession implements QmpClient {
  readonly greeting: Promise<void>;
  readonly #socket: Socket;
  readonly #onEvent: ((event: QmpEvent) => void) | undefined;
  readonly #pending = new Map<number, Pending>();
  readonly #closeListeners: (() => void)[] = [];
  #greeted!: { resolve(): void; reject(error: Error): void };
  #nextId = 1;
  #buffer: Buffer[] = [];
  #buffered = 0;
  #closed: Error | undefined;

  constructor(socket: Socket, onEvent: ((event: QmpEvent) => void) | undefined) {
    this.#socket = socket;
    this.#onEvent = onEvent;
    this.greeting = new Promise((resolve, reject) => { this.#greeted = { resolve, reject }; });
    // Whoever awaits it still gets the error; without this a failure before that ends the daemon.
    this.greeting.catch(() => {});
    socket.on('data', (chunk: Buffer) => this.#feed(chunk));
    socket.on('error', (error) => this.fail(operationFailed('The VMM does not answer', { cause: error })));
    socket.on('close', () => this.fail(operationFailed('The VMM closed its control connection')));
  }

  execute(command: string, args: object = {}, options: { readonly timeoutMs?: number } = {}): Promise<unknown> {
    if (this.#closed) return Promise.reject(this.#closed);
    const id = this.#nextId++;
    const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(timedOut(`the VMM to answer ${command}`, timeoutMs));
      }, timeoutMs);
      this.#pending.set(id, { resolve, reject, timer, command });
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    });
  }

  onClose(listener: () => void): void {
    if (this.#closed) listener();
    else this.#closeListeners.push(listener);
  }

  close(): void {
    this.fail(operationFailed('The control connection was closed'));
  }

  fail(error: Error): void {
    if (this.#closed) return;
    this.#closed = error;
    this.#socket.destroy();
    this.#buffer = [];
    this.#greeted.reject(error);
    for (const call of this.#pending.values()) {
      clearTimeout(call.timer);
      call.reject(error);
    }
    this.#pending.clear();
    for (const listener of this.#closeListeners) listener();
  }

  #feed(chunk: Buffer): void {
    let rest = chunk;
    for (let end = rest.indexOf(10); end >= 0 && !this.#closed; end = rest.indexOf(10)) {
      const line = Buffer.concat([...this.#buffer, rest.subarray(0, end)]).toString('utf8');
      this.#buffer = [];
      this.#buffered = 0;
      rest = rest.subarray(end + 1);
      this.#receive(line);
    }
    if (this.#closed || rest.length === 0) return;
    this.#buffered += rest.length;
    if (this.#buffered > maxLineBytes) return this.fail(operationFailed('The VMM sent an endless line'));
    this.#buffer.push(rest);
  }

  #receive(line: string): void {
    if (line.trim() === '') return;
    let message: Record<string, unknown>;
    try {
      const value: unknown = JSON.parse(line);
      if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new TypeError('not an object');
      message = value as Record<string, unknown>;
    } catch (error) {
      return this.fail(operationFailed('The VMM sent what is not QMP', { cause: error }));
    }
    if ('QMP' in message) return this.#greeted.resolve();
    if (typeof message['event'] === 'string') return this.#notify(message['event'], message);
    this.#settle(message);
  }

  #notify(event: string, message: Record<string, unknown>): void {
    const { seconds, microseconds } = asObject(message['timestamp']);
    const atMs = typeof seconds === 'number' && typeof microseconds === 'number' ? seconds * 1000 + microseconds / 1000 : Date.now();
    this.#onEvent?.({ event, data: asObject(message['data']), atMs });
  }

  #settle(message: Record<string, unknown>): void {
    // Of a VMM taken over by its guest each may be anything, also what cannot become a number or a text.
    const { id, error } = message;
    const call = typeof id === 'number' ? this.#pending.get(id) : undefined;
    if (typeof id !== 'number' || !call) return;
    this.#pending.delete(id);
    clearTimeout(call.timer);
    if (error === undefined) return call.resolve(message['return']);
    const { desc } = asObject(error);
    call.reject(operationFailed(`QEMU refused ${call.command}: ${typeof desc === 'string' ? desc : 'no reason given'}`));
  }
}

function asObject(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? value as Record<string, unknown> : {};
}

/** Whether an error means that the VMM is gone, not that it refuses or is slow. */
export function isConnectionGone(error: unknown): boolean {
  return isBangerError(error) && error.code === 'operation_failed' && !error.message.startsWith('QEMU refused');
}
