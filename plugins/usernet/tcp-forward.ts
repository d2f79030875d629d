// A listener of this host. Each connection is joined to one that the guest agent makes inside the guest.
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { GuestAgent, Logger, Vm } from '../../core/plugin-api.ts';

/** Where in the guest connections go. */
export interface GuestPort { readonly guestHost: string; readonly guestPort: number }
export interface TcpForwardOptions {
  readonly vm: Vm;
  readonly agent: Pick<GuestAgent, 'dial'>;
  readonly log: Logger;
  /** Every connection is in here as long as it lives. */
  readonly connections: Set<Socket>;
  /** So many of these; what comes beyond them is refused. @default 1024 */
  readonly maxConnections?: number | undefined;
  /** Told when the guest has taken a connection; the result is called when that ends. */
  joined(): () => void;
  /** Asked for each connection: a change counts from the next one on. */
  target(): GuestPort;
}
/** What listens on this host; `listen` once. */
export interface HostListener {
  /** Rejects with the system's error. */
  listen(address: string, port: number): Promise<void>;
  /** Nothing new is taken from now on, and the port is free. */
  close(): void;
}

/** Of a VM, which may have hundreds of listeners; the guest's own limits come first for what is meant. */
const defaultMaxConnections = 1024;
const dialTimeoutMs = 15_000;

export function createTcpForward(options: TcpForwardOptions): HostListener {
  const { vm, log } = options;
  // Half-open: a client may end its side and still wait for the answer. Not paused: what comes before the guest's side is there
  // waits in the socket's bounded buffer, and a client that goes away meanwhile is noticed only by reading.
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => meet(socket, options));
  return {
    listen: (address, port) => new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: address, port, backlog: 128 }, () => {
        server.removeListener('error', reject);
        // A connection that could not be accepted (no memory, no descriptors) is told here, too, and must not end the daemon.
        server.on('error', (error) => log.warn({ vm: vm.name, guestPort: options.target().guestPort, err: error }, 'A forwarded port had an error'));
        resolve();
      });
    }),
    close() {
      // Not waiting for connections: they end with the VM, or by themselves.
      if (server.listening) server.close();
    },
  };
}

function meet(socket: Socket, { vm, agent, log, connections, maxConnections = defaultMaxConnections, target, joined }: TcpForwardOptions): void {
  if (connections.size >= maxConnections) {
    socket.on('error', () => {});
    socket.resetAndDestroy();
    return;
  }
  const { guestHost, guestPort } = target();
  connections.add(socket);
  const gone = new AbortController();
  socket.on('close', () => { connections.delete(socket); gone.abort(); });
  // Every error is followed by `close`, where the other side is ended.
  socket.on('error', () => {});
  const signal = AbortSignal.any([gone.signal, AbortSignal.timeout(dialTimeoutMs)]);
  agent.dial(vm, { host: guestHost, port: guestPort }, signal).then(
    (stream) => {
      if (!socket.destroyed) socket.once('close', joined());
      joinStreams(socket, stream);
    },
    (error: unknown) => {
      log.debug({ vm: vm.name, guestPort, err: error }, 'Guest refused a forwarded connection');
      // As if the guest's port had refused: an end without data would look like an empty answer.
      if (!socket.destroyed) socket.resetAndDestroy();
    });
}

/** Joins both ends: back-pressure and half-close by `pipe`, and neither outlives the other's failure. */
function joinStreams(socket: Socket, stream: Duplex): void {
  stream.on('error', () => { if (!socket.destroyed) socket.resetAndDestroy(); });
  stream.on('close', () => {
    // A stream that ended in order has handed its end to the socket: that finishes its writes, and then nobody is there for what the client still says.
    if (!stream.readableEnded || socket.writableFinished) socket.destroy();
    else socket.once('finish', () => socket.destroy());
  });
  socket.on('close', () => stream.destroy());
  if (socket.destroyed) { stream.destroy(); return; }
  socket.pipe(stream);
  stream.pipe(socket);
}
