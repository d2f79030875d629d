// Ports of this host that a guest may reach: the agent listens inside the guest for exactly these, and each connection is joined to the host's own 127.0.0.1.
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import type { GuestAgent, Logger, Vm, VmUse } from '../../core/plugin-api.ts';
import { keepDoing } from './retry.ts';
import type { RetryLimits } from './retry.ts';
import { hostAccessAddress } from './wanted.ts';

export interface HostAccessDeps {
  readonly agent: Pick<GuestAgent, 'listen'>;
  readonly log: Logger;
  /** A guest that works with a service of the host is in use. */
  readonly use: Pick<VmUse, 'hold'>;
  readonly retry?: RetryLimits;
}

const retryLimits: RetryLimits = { firstMs: 1000, lastMs: 30_000, goodMs: 10_000 };
const hostLoopback = '127.0.0.1';

export class HostAccess {
  readonly #deps: HostAccessDeps;
  readonly #vm: Vm;
  readonly #gone = new AbortController();
  readonly #problems = new Map<number, string>();
  readonly #connections = new Set<Duplex>();

  constructor(deps: HostAccessDeps, vm: Vm, ports: readonly number[]) {
    this.#deps = deps;
    this.#vm = vm;
    for (const port of ports) {
      void keepDoing((signal) => this.#offer(port, signal), {
        signal: this.#gone.signal, limits: deps.retry ?? retryLimits,
        onError: (error) => {
          deps.log.debug({ vm: vm.name, port, err: error }, 'the guest does not listen for a port of the host');
          this.#problems.set(port, error instanceof Error ? error.message : 'internal error');
        },
      });
    }
  }

  notices(): string[] {
    return [...this.#problems].map(([port, problem]) => `the guest does not reach port ${port} of the host: ${problem}`);
  }

  /** Ends listeners and connections. */
  close(): void {
    this.#gone.abort();
    for (const connection of this.#connections) connection.destroy();
  }

  /** Until the session with the guest ends. */
  async #offer(port: number, signal: AbortSignal): Promise<void> {
    const listener = await this.#deps.agent.listen(this.#vm, { host: hostAccessAddress, port }, { signal, onConnection: (stream) => this.#join(stream, port) });
    const close = (): void => listener.close();
    signal.addEventListener('abort', close, { once: true });
    if (signal.aborted) close();
    this.#problems.delete(port);
    await listener.closed;
    signal.removeEventListener('abort', close);
  }

  /** Each direction ends by itself, and neither side outlives the other's failure. The agent bounds how many there are. */
  #join(stream: Duplex, port: number): void {
    if (this.#gone.signal.aborted) {
      stream.destroy();
      return;
    }
    this.#connections.add(stream);
    const release = this.#deps.use.hold(this.#vm.id, `connection to port ${port} of the host`);
    const socket = connect({ host: hostLoopback, port, allowHalfOpen: true, noDelay: true });
    stream.on('error', () => socket.resetAndDestroy());
    stream.on('close', () => {
      release();
      this.#connections.delete(stream);
      // One that ended in order has handed its end to the socket: after that nobody is there for what the host's service still says.
      if (!stream.readableEnded || socket.writableFinished) socket.destroy();
      else socket.once('finish', () => socket.destroy());
    });
    // Refused by the host: the guest sees its connection end.
    socket.on('error', () => stream.destroy());
    socket.on('close', () => stream.destroy());
    socket.pipe(stream);
    stream.pipe(socket);
  }
}
