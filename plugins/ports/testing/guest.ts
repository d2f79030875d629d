// Test support: a guest that says what the test tells it, the real forwards of this host, and addresses that clash with nothing.
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { operationFailed } from '../../../core/plugin-api.ts';
import type { GuestAgent, Logger, Vm } from '../../../core/plugin-api.ts';
import type { GuestListeners, ListenerSnapshot } from '../../stats/capability.ts';
import { createForwards } from '../../usernet/forwards.ts';
import type { Forwards } from '../../usernet/forwards.ts';

export const limit = { timeout: 20_000, interval: 5 };
export const log: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };

let slots = 0;
/** A VM with a directory of its own and, by its slot, an address. */
export function testVm(name = 'devbox'): Vm {
  const dir = mkdtempSync(join(tmpdir(), 'banger-ports-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  slots += 1;
  return { id: name.padEnd(12, '0'), name, dir, slot: slots, spec: { sections: {} } } as unknown as Vm;
}
export const addressOf = (vm: Pick<Vm, 'slot'>): string => `127.36.${process.pid & 255}.${vm.slot}`;

export function listening(...ports: readonly (number | readonly [address: string, port: number])[]): ListenerSnapshot {
  return {
    more: 0,
    listeners: ports.map((port) => {
      const [address, number] = typeof port === 'number' ? ['0.0.0.0', port] as const : port;
      return { protocol: 'tcp', address, port: number, uid: 0 };
    }),
  };
}

/** Listeners as the test says them, to every watch there is. */
export class ScriptedListeners implements GuestListeners {
  snapshot: ListenerSnapshot | undefined;
  watches = 0;
  /** What `list` and new watches fail with. */
  failure: Error | undefined;
  readonly #watchers = new Map<(snapshot: ListenerSnapshot) => void, (error: Error) => void>();

  say(snapshot: ListenerSnapshot): void {
    this.snapshot = snapshot;
    for (const tell of this.#watchers.keys()) tell(snapshot);
  }
  /** The guest reboots, or its agent comes anew: watches end. */
  lose(error: Error = operationFailed('the session was lost')): void {
    for (const fail of this.#watchers.values()) fail(error);
  }
  get watching(): number {
    return this.#watchers.size;
  }
  async list(): Promise<ListenerSnapshot> {
    if (this.failure !== undefined) throw this.failure;
    return this.snapshot ?? listening();
  }
  async watch(_: Vm, onChange: (snapshot: ListenerSnapshot) => void, signal: AbortSignal): Promise<void> {
    this.watches += 1;
    if (this.failure !== undefined) throw this.failure;
    const over = Promise.withResolvers<void>();
    this.#watchers.set(onChange, over.reject);
    signal.addEventListener('abort', () => over.resolve(), { once: true });
    if (this.snapshot !== undefined) onChange(this.snapshot);
    try {
      await over.promise;
    } finally {
      this.#watchers.delete(onChange);
    }
  }
}

/** Connections go to this host, as if it were the guest. */
export const hostAsGuest: Pick<GuestAgent, 'dial' | 'exec'> = {
  exec: () => Promise.reject(operationFailed('no datagrams here')),
  dial: (_, to) => new Promise((resolve, reject) => {
    const socket = connect({ ...('path' in to ? { path: to.path } : { host: to.host, port: to.port }), allowHalfOpen: true }, () => resolve(socket));
    socket.once('error', (error) => reject(operationFailed('refused', { cause: error })));
  }),
};

/** As usernet's step has begun them for these VMs. */
export async function realForwards(vms: readonly Vm[], firstOpen = 0): Promise<Forwards> {
  const forwards = createForwards({ agent: hostAsGuest, use: { touch() {}, hold: () => () => undefined }, log, address: addressOf, firstOpenPort: () => firstOpen });
  onTestFinished(() => forwards.closeAll());
  for (const vm of vms) await forwards.replace(vm, []);
  return forwards;
}

/** A server of this host; port 0: any. */
export async function serve(host: string, port: number, handler: (socket: Socket) => void): Promise<{ readonly port: number; readonly server: Server }> {
  const server = createServer({ allowHalfOpen: true }, handler);
  onTestFinished(() => { server.close(); });
  await new Promise<void>((resolve, reject) => { server.once('error', reject).listen(port, host, resolve); });
  return { server, port: (server.address() as { port: number }).port };
}
/** A port of an address that was free a moment ago. */
export async function freePort(address: string): Promise<number> {
  const { port, server } = await serve(address, 0, () => {});
  await new Promise((resolve) => server.close(resolve));
  return port;
}
/** What a server says to whoever connects; the error code when none listens. */
export function fetchText(address: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const parts: Buffer[] = [];
    const socket = connect({ host: address, port });
    socket.on('data', (data) => parts.push(data));
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'));
    socket.on('end', () => resolve(Buffer.concat(parts).toString()));
  });
}
