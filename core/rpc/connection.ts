// One client's connection: reads bounded lines, starts calls, sends answers, and may turn into a byte stream.
import type { Socket } from 'node:net';
import { BangerError, busy } from '../errors.ts';
import type { ProgressNotice } from '../api.ts';
import { frameKind } from '../api.ts';
import type { Logger, Peer } from '../plugin-api.ts';
import { cancelledCall } from './dispatch.ts';
import type { Call, Dispatcher } from './dispatch.ts';
import { createFrameStream } from './frame-stream.ts';
import type { SocketFrameStream } from './frame-stream.ts';
import type { RpcLimits } from './limits.ts';
import { createOpId } from '../ids.ts';
import { LineReader, parseIncoming, rpcCode } from './protocol.ts';
import type { Incoming, RequestMessage, RpcId } from './protocol.ts';
import type { Tickets } from './tickets.ts';
import { faultBody, toErrorBody } from './wire-error.ts';
import type { RpcErrorBody } from './wire-error.ts';

export interface ConnectionDeps {
  readonly dispatcher: Dispatcher;
  readonly tickets: Tickets;
  readonly limits: RpcLimits;
  readonly log: Logger;
  /** Calls of closed connections count too: a write call goes on without its client. */
  callEnded(call: Call): void;
  closed(connection: Connection): void;
}

interface RunningCall { readonly call: Call; readonly method: string }

/** `refused`: whatever comes is thrown away until the client closes or the sweep cuts it. */
type Mode = 'lines' | 'stream' | 'refused' | 'closed';

export class Connection {
  readonly peer: Peer;
  readonly #socket: Socket;
  readonly #deps: ConnectionDeps;
  readonly #reader: LineReader;
  readonly #calls = new Map<RpcId, RunningCall>();
  readonly #closeListeners = new Set<() => void>();
  #mode: Mode = 'lines';
  #stream: SocketFrameStream | undefined;
  #out = '';
  #flushPlanned = false;
  #linesSeen = 0;
  #faults = 0;
  #halfClosed = false;
  /** Set by a refused `rpc.hello` (nothing else would be understood as meant) and by `shutdown`: no new calls. */
  #refusal: BangerError | undefined;
  /** When the present half line began or the connection was refused. */
  #waitingSince: number | undefined;

  constructor(id: string, socket: Socket, deps: ConnectionDeps) {
    this.#socket = socket;
    this.#deps = deps;
    this.#reader = new LineReader(deps.limits.maxLineBytes);
    this.peer = {
      id,
      onClose: (listener) => this.#onClose(listener),
      offerStream: (open, expired) => deps.tickets.offer(id, open, expired),
    };
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('drain', this.#onDrain);
    socket.on('error', this.#onError);
    socket.on('close', () => this.#closed());
  }

  get runningCalls(): number {
    return this.#calls.size;
  }
  get bufferedInputBytes(): number {
    return this.#reader.bufferedBytes;
  }
  get bufferedOutputBytes(): number {
    return this.#stream === undefined ? this.#out.length + this.#socket.writableLength : this.#stream.bufferedBytes();
  }

  /** Answers every later call with this error. */
  refuseCalls(error: BangerError): void {
    this.#refusal ??= error;
  }

  /** Says why, sends nothing more, and ignores what comes. */
  refuse(body: RpcErrorBody): void {
    if (this.#mode !== 'lines') return;
    this.#reply(null, body);
    this.#flush();
    this.#mode = 'refused';
    this.#reader.takeRest();
    this.#waitingSince = Date.now();
    // Not destroyed yet: a client in the middle of a long write would lose the answer to a reset.
    this.#socket.end();
    this.#socket.resume();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Takes no new calls and ends after the answers to the running ones are out. */
  shutdown(): void {
    this.refuseCalls(new BangerError('daemon_unreachable', 'The daemon is closing'));
    if (this.#stream !== undefined) this.#stream.destroy();
    else if (this.#calls.size === 0) this.#finish();
    else this.#halfClosed = true;
  }

  /** Called now and then: cuts what takes too long, and finds out whether a half-closed client still listens. */
  sweep(now: number): void {
    const { halfLineMs, drainMs } = this.#deps.limits;
    if (this.#waitingSince !== undefined && now - this.#waitingSince > (this.#mode === 'refused' ? drainMs : halfLineMs)) {
      this.#deps.log.debug({ peer: this.peer.id, mode: this.#mode }, 'cutting a connection that does not finish its line');
      this.destroy();
    } else if (this.#halfClosed && this.#mode === 'lines') {
      this.#probe();
    }
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#mode !== 'lines') return;
    this.#reader.push(chunk);
    this.#processLines();
  };
  readonly #onDrain = (): void => this.#processLines();
  readonly #onError = (error: Error): void => {
    // A client that vanished; 'close' follows.
    this.#deps.log.debug({ peer: this.peer.id, reason: error.message }, 'connection error');
  };
  /**
   * The client sends no more, but may still read (`socat`, `nc -N`): running calls are answered first. Whether it is gone altogether,
   * only a write can tell.
   */
  readonly #onEnd = (): void => {
    if (this.#calls.size === 0) {
      this.#finish();
      return;
    }
    this.#halfClosed = true;
    this.#probe();
  };

  #processLines(): void {
    for (let count = 0; count < this.#deps.limits.linesPerTurn; count += 1) {
      if (this.#mode !== 'lines') return;
      if (this.bufferedOutputBytes > this.#deps.limits.softOutputBytes) {
        this.#socket.pause(); // until 'drain'
        return;
      }
      const line = this.#reader.next();
      if (line === undefined) {
        this.#awaitMore();
        return;
      }
      if (line.length > 0) this.#handle(parseIncoming(line));
    }
    this.#socket.pause();
    setImmediate(() => this.#processLines());
  }

  #awaitMore(): void {
    if (this.#reader.overflowed) {
      const message = `Request line is longer than ${this.#deps.limits.maxLineBytes} bytes`;
      this.refuse(faultBody(rpcCode.invalidRequest, message, createOpId()));
      return;
    }
    if (this.#reader.partialBytes === 0) this.#waitingSince = undefined;
    else this.#waitingSince ??= Date.now();
    this.#socket.resume();
  }

  #handle(message: Incoming): void {
    this.#linesSeen += 1;
    this.#waitingSince = undefined;
    if (message.kind === 'request') this.#start(message);
    else if (message.kind === 'notification') this.#notified(message.method, message.params);
    else if (message.kind === 'attach' && this.#linesSeen === 1) this.#attach(message.ticket);
    else if (message.kind === 'attach') this.#fault(null, rpcCode.invalidRequest, 'Attach must be the first line of a connection');
    else this.#fault(message.id, message.code, message.message);
  }

  #fault(id: RpcId | null, code: number, message: string): void {
    const body = faultBody(code, message, createOpId());
    this.#faults += 1;
    if (this.#faults > this.#deps.limits.maxFaults) this.refuse(body);
    else this.#reply(id, body);
  }

  #start(request: RequestMessage): void {
    const { id, method } = request;
    if (this.#calls.has(id)) {
      this.#fault(id, rpcCode.invalidRequest, 'A running call has this id');
      return;
    }
    if (this.#refusal !== undefined) {
      this.#reply(id, toErrorBody(this.#refusal, createOpId()));
      return;
    }
    if (this.#calls.size >= this.#deps.limits.maxCallsPerConnection) {
      this.#reply(id, toErrorBody(busy('The connection', `${this.#calls.size} calls are running on it`), createOpId()));
      return;
    }
    const call = this.#deps.dispatcher.begin(request, { peer: this.peer, progress: this.#progress });
    this.#calls.set(id, { call, method });
    void call.answer().then((text) => {
      this.#calls.delete(id);
      this.#send(text);
      if (this.#halfClosed && this.#calls.size === 0) this.#finish();
      this.#deps.callEnded(call);
    });
  }

  #notified(method: string, params: unknown): void {
    if (method !== 'rpc.cancel') {
      this.#deps.log.debug({ peer: this.peer.id, method: method.slice(0, 64) }, 'notification ignored');
      return;
    }
    const running = this.#calls.get((params as { readonly id?: RpcId } | undefined)?.id as RpcId);
    // A call that has just been answered is no longer there; cancelling it is not a mistake.
    running?.call.abort(cancelledCall(running.method));
  }

  #attach(ticket: string): void {
    const rest = this.#reader.takeRest();
    this.#mode = 'stream';
    this.#socket.off('data', this.#onData).off('end', this.#onEnd).off('drain', this.#onDrain);
    const stream = createFrameStream(this.#socket, { first: rest, onPeerEnd: 'end' });
    this.#stream = stream;
    const open = this.#deps.tickets.take(ticket);
    if (open === undefined) {
      const error = new BangerError('not_found', 'No stream waits under this ticket', { hint: 'a ticket serves once and for 10 s' });
      void this.#refuseStream(stream, error);
      return;
    }
    try {
      open(stream);
    } catch (error) {
      this.#deps.log.error({ peer: this.peer.id, err: error }, 'a stream failed to open');
      void this.#refuseStream(stream, error);
    }
  }

  async #refuseStream(stream: SocketFrameStream, error: unknown): Promise<void> {
    const body = toErrorBody(error, createOpId());
    const payload = JSON.stringify({ error: { ...body.data, message: body.message } });
    try {
      await stream.send(frameKind.exit, Buffer.from(payload));
    } catch {
      // The client left before it could be told.
    }
    stream.end();
  }

  readonly #progress = (notice: ProgressNotice): void => {
    if (this.#mode !== 'lines' || this.bufferedOutputBytes > this.#deps.limits.softOutputBytes) return;
    this.#send(JSON.stringify({ jsonrpc: '2.0', method: 'rpc.progress', params: notice }));
  };

  #reply(id: RpcId | null, error: RpcErrorBody): void {
    this.#send(JSON.stringify({ jsonrpc: '2.0', id, error }));
  }

  #send(text: string): void {
    if (this.#mode !== 'lines' || !this.#socket.writable) return;
    if (this.bufferedOutputBytes > this.#deps.limits.hardOutputBytes) {
      this.#deps.log.warn({ peer: this.peer.id, bytes: this.bufferedOutputBytes }, 'dropping a client that does not read its answers');
      this.destroy();
      return;
    }
    this.#out += `${text}\n`;
    if (this.#flushPlanned) return;
    // Answers that become ready together leave in one write.
    this.#flushPlanned = true;
    process.nextTick(() => this.#flush());
  }

  #flush(): void {
    this.#flushPlanned = false;
    if (this.#out === '' || !this.#socket.writable) return;
    const text = this.#out;
    this.#out = '';
    this.#socket.write(text);
  }

  /** An empty line means nothing to a client that reads, and fails when there is none. */
  #probe(): void {
    this.#flush();
    if (this.#socket.writable && this.#socket.writableLength === 0) this.#socket.write('\n');
  }

  #finish(): void {
    this.#flush();
    this.#socket.end();
  }

  #onClose(listener: () => void): () => void {
    if (this.#mode === 'closed') queueMicrotask(listener);
    else this.#closeListeners.add(listener);
    return () => void this.#closeListeners.delete(listener);
  }

  #closed(): void {
    this.#mode = 'closed';
    this.#out = '';
    for (const { call, method } of this.#calls.values()) {
      if (call.effect === 'read') call.abort(cancelledCall(method));
    }
    const listeners = [...this.#closeListeners];
    this.#closeListeners.clear();
    for (const listener of listeners) {
      try {
        listener();
      } catch (error) {
        this.#deps.log.error({ peer: this.peer.id, err: error }, 'a close listener failed');
      }
    }
    this.#deps.closed(this);
  }
}
