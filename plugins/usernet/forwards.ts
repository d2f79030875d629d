// Listeners of published ports. Each connection is joined to one that the guest agent makes inside the guest.
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { BangerError, busy, operationFailed } from '../../core/plugin-api.ts';
import type { GuestAgent, Logger, Vm } from '../../core/plugin-api.ts';
import { findPortHolder } from './port-holder.ts';

export interface Forward {
  readonly address: string;
  readonly hostPort: number;
  readonly guestPort: number;
}
export interface Forwards {
  /**
   * Makes exactly these the VM's listeners; unchanged ones are not touched, connections of removed ones live on.
   * All or nothing: when one cannot listen, the former set stays. Calls for one VM must not overlap.
   * @throws busy, naming who holds the port; operation_failed
   */
  replace(vm: Vm, wanted: readonly Forward[]): Promise<void>;
  /** Ends listeners and connections of a VM. */
  close(vmId: string): Promise<void>;
  closeAll(): Promise<void>;
  list(vmId: string): readonly Forward[];
}

interface Listener { readonly forward: Forward; readonly vmName: string; readonly server: Server }
interface Entry { readonly listeners: Map<string, Listener>; readonly connections: Set<Socket> }

/** Per listener; the guest's own limits come first for what is meant. */
const maxConnections = 1024;
const dialTimeoutMs = 15_000;
const guestLoopback = '127.0.0.1';

export function createForwards(agent: Pick<GuestAgent, 'dial'>, log: Logger): Forwards {
  const entries = new Map<string, Entry>();
  const ownHolder = (forward: Forward): string | undefined => {
    for (const { listeners } of entries.values()) {
      for (const other of listeners.values()) if (overlaps(other.forward, forward)) return `VM ${other.vmName}`;
    }
    return undefined;
  };
  const close = async (vmId: string): Promise<void> => {
    const entry = entries.get(vmId);
    entries.delete(vmId);
    if (!entry) return;
    for (const socket of entry.connections) socket.destroy();
    await Promise.all([...entry.listeners.values()].map(({ server }) => closeServer(server)));
  };
  return {
    async replace(vm, wanted) {
      const entry = entries.get(vm.id) ?? { listeners: new Map<string, Listener>(), connections: new Set<Socket>() };
      const keys = new Set(wanted.map(keyOf));
      const opened: Listener[] = [];
      try {
        for (const forward of wanted.filter((f) => !entry.listeners.has(keyOf(f)))) {
          const server = createForwardServer({ vm, forward, agent, log, connections: entry.connections });
          // A rule that only changes its guest port must free the host port first.
          const former = [...entry.listeners.values()].find((l) => !keys.has(keyOf(l.forward)) && sameListener(l.forward, forward));
          if (former) await closeServer(former.server);
          await listen(server, forward, ownHolder);
          opened.push({ forward, vmName: vm.name, server });
        }
      } catch (error) {
        await Promise.all(opened.map(({ server }) => closeServer(server)));
        await reopen(entry, ownHolder);
        throw error;
      }
      const removed = [...entry.listeners].filter(([key]) => !keys.has(key));
      for (const [key] of removed) entry.listeners.delete(key);
      for (const listener of opened) entry.listeners.set(keyOf(listener.forward), listener);
      entries.set(vm.id, entry);
      await Promise.all(removed.map(([, { server }]) => closeServer(server)));
    },
    close,
    closeAll: async () => { await Promise.all([...entries.keys()].map(close)); },
    list: (vmId) => [...entries.get(vmId)?.listeners.values() ?? []].map(({ forward }) => forward),
  };
}

function keyOf(forward: Forward): string {
  return `${forward.address}:${forward.hostPort}:${forward.guestPort}`;
}
function sameListener(a: Forward, b: Forward): boolean {
  return a.address === b.address && a.hostPort === b.hostPort;
}
function overlaps(a: Forward, b: Forward): boolean {
  const any = '0.0.0.0';
  return a.hostPort === b.hostPort && (a.address === b.address || a.address === any || b.address === any);
}

async function reopen(entry: Entry, ownHolder: (forward: Forward) => string | undefined): Promise<void> {
  for (const { server, forward } of entry.listeners.values()) if (!server.listening) await listen(server, forward, ownHolder);
}

function listen(server: Server, forward: Forward, ownHolder: (forward: Forward) => string | undefined): Promise<void> {
  const { address, hostPort } = forward;
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException): void => reject(listenError(forward, error, ownHolder));
    server.once('error', fail);
    server.listen({ host: address, port: hostPort, backlog: 128 }, () => {
      server.removeListener('error', fail);
      resolve();
    });
  });
}

function listenError(forward: Forward, error: NodeJS.ErrnoException, ownHolder: (forward: Forward) => string | undefined): BangerError {
  const where = `${forward.address}:${forward.hostPort}`;
  if (error.code === 'EADDRINUSE') {
    const holder = ownHolder(forward) ?? findPortHolder(forward.address, forward.hostPort) ?? 'another process';
    return busy(`Port ${where}`, `${holder} listens there`);
  }
  const hint = error.code === 'EACCES' ? 'ports below 1024 need root' : error.code === 'EADDRNOTAVAIL' ? 'the address must be one of this host' : undefined;
  return operationFailed(`Cannot listen on ${where}`, { cause: error, hint });
}

function closeServer(server: Server): Promise<void> {
  // Not waiting for connections: they end with the VM, or by themselves.
  if (server.listening) server.close();
  return Promise.resolve();
}

interface ForwardServer {
  readonly vm: Vm;
  readonly forward: Forward;
  readonly agent: Pick<GuestAgent, 'dial'>;
  readonly log: Logger;
  readonly connections: Set<Socket>;
}

function createForwardServer({ vm, forward, agent, log, connections }: ForwardServer): Server {
  // Half-open: a client may end its side and still wait for the answer. Not paused: what comes before the guest's side is there
  // waits in the socket's bounded buffer, and a client that goes away meanwhile is noticed only by reading.
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    connections.add(socket);
    const gone = new AbortController();
    socket.on('close', () => { connections.delete(socket); gone.abort(); });
    // Every error is followed by `close`, where the other side is ended.
    socket.on('error', () => {});
    const signal = AbortSignal.any([gone.signal, AbortSignal.timeout(dialTimeoutMs)]);
    agent.dial(vm, { host: guestLoopback, port: forward.guestPort }, signal).then(
      (stream) => join(socket, stream),
      (error: unknown) => {
        log.debug({ vm: vm.name, guestPort: forward.guestPort, err: error }, 'Guest refused a published connection');
        // As if the guest's port had refused: an end without data would look like an empty answer.
        if (!socket.destroyed) socket.resetAndDestroy();
      });
  });
  server.maxConnections = maxConnections;
  // A connection that could not be accepted (no memory, no descriptors) is told here, too, and must not end the daemon.
  server.on('error', (error) => log.warn({ vm: vm.name, guestPort: forward.guestPort, err: error }, 'A published port had an error'));
  return server;
}

/** Joins both ends: back-pressure and half-close by `pipe`, and neither outlives the other's failure. */
function join(socket: Socket, stream: Duplex): void {
  stream.on('error', () => { if (!socket.destroyed) socket.resetAndDestroy(); });
  stream.on('close', () => {
    // A stream that ended in order has handed its end to the socket, which finishes its writes by itself.
    if (!stream.readableEnded) socket.destroy();
  });
  socket.on('close', () => stream.destroy());
  if (socket.destroyed) { stream.destroy(); return; }
  socket.pipe(stream);
  stream.pipe(socket);
}
