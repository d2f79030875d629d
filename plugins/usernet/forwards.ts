// The forwarded ports of running VMs: published, added and automatic ones in one table, so that a clash is known for what it is.
import type { Socket } from 'node:net';
import { busy, cancelled, notRunning, operationFailed } from '../../core/plugin-api.ts';
import type { BangerError, GuestAgent, Logger, Vm, VmUse } from '../../core/plugin-api.ts';
import type { ForwardRequest, ForwardSource, PortForward, PortForwards, UnforwardedPort } from './capability.ts';
import { hostPortsFor } from './host-ports.ts';
import { findPortHolder } from './port-holder.ts';
import { createTcpForward } from './tcp-forward.ts';
import type { HostListener } from './tcp-forward.ts';
import { createUdpForward } from './udp-forward.ts';

/** A rule of the VM's spec. */
export type PublishedPort = Pick<PortForward, 'address' | 'hostPort' | 'guestPort'>;
export interface Forwards extends PortForwards {
  /**
   * Makes exactly these the VM's published ports; unchanged ones are not touched, connections of removed ones live on.
   * All or nothing: when one cannot listen, the former set stays. Calls for one VM must not overlap.
   * @throws busy, naming who holds the port; operation_failed
   */
  replace(vm: Vm, wanted: readonly PublishedPort[]): Promise<void>;
  /** Ends listeners and connections of a VM. From now on nothing is opened for it until `replace`. */
  closeVm(vmId: string): void;
  closeAll(): void;
}
export interface ForwardsDeps {
  readonly agent: Pick<GuestAgent, 'dial' | 'exec'>;
  readonly log: Logger;
  /** Connections are a use of their VM. */
  readonly use: Pick<VmUse, 'hold' | 'touch'>;
  /** The VM's own address. */
  address(vm: Vm): string;
  /** The lowest port that we may listen on. */
  firstOpenPort(): number;
  /** Of one VM, over all of its ports. @default 1024 */
  readonly maxConnections?: number;
}

/** A port of this host from the moment it is asked for. */
interface Slot { readonly vmName: string; forward: PortForward; readonly listener: HostListener; readonly ready: Promise<void> }
interface Entry {
  /** By `slotKey`. */
  readonly slots: Map<string, Slot>;
  readonly connections: Set<Socket>;
  /** Connections that the guest has taken, and the one hold for all of them. */
  joined: number;
  release: (() => void) | undefined;
  unforwarded: readonly UnforwardedPort[];
}

const sourceWords: Readonly<Record<ForwardSource, string>> = { published: 'published', added: 'added', auto: 'automatic' };
/** Either of the guest's loopback addresses. */
const guestLoopback = 'localhost';

export function createForwards(deps: ForwardsDeps): Forwards {
  return new ForwardTable(deps);
}

class ForwardTable implements Forwards {
  readonly #deps: ForwardsDeps;
  readonly #entries = new Map<string, Entry>();
  readonly #publishListeners = new Set<(vmId: string) => void>();
  /** VMs that lost an automatic forward to what was asked for, and have not been told. */
  readonly #displaced = new Set<string>();

  constructor(deps: ForwardsDeps) {
    this.#deps = deps;
  }

  async replace(vm: Vm, wanted: readonly PublishedPort[]): Promise<void> {
    const entry = this.#entries.get(vm.id) ?? { slots: new Map<string, Slot>(), connections: new Set<Socket>(), joined: 0, release: undefined, unforwarded: [] };
    this.#entries.set(vm.id, entry);
    const forwards = new Map<string, PortForward>();
    for (const rule of wanted) {
      const forward: PortForward = { ...rule, protocol: 'tcp', guestHost: guestLoopback, source: 'published' };
      if (forwards.has(slotKey(forward))) throw busy(`Port ${rule.address}:${rule.hostPort}`, `VM ${vm.name} publishes it twice`);
      forwards.set(slotKey(forward), forward);
    }
    const former = [...entry.slots].filter(([, slot]) => slot.forward.source === 'published');
    const opened: string[] = [];
    try {
      for (const [key, forward] of forwards) {
        if (entry.slots.get(key)?.forward.source === 'published') continue;
        await this.#begin(vm, entry, forward);
        opened.push(key);
      }
    } catch (error) {
      for (const key of opened) drop(entry, key);
      this.#tell();
      throw error;
    }
    for (const [key, slot] of former) {
      const forward = forwards.get(key);
      if (forward === undefined) drop(entry, key);
      else slot.forward = forward;
    }
    this.#tell(vm.id);
  }

  async open(vm: Vm, request: ForwardRequest): Promise<PortForward> {
    const { protocol, guestPort, source } = request;
    const base = { protocol, guestPort, source, address: request.address ?? this.#deps.address(vm), guestHost: request.guestHost ?? guestLoopback };
    if (request.hostPort !== undefined) return this.#openAt(vm, { ...base, hostPort: request.hostPort }).finally(() => this.#tell());
    const ports = [...hostPortsFor(guestPort, this.#deps.firstOpenPort())];
    // The first one is refused where even root may not: the high ones are left.
    if (ports[0] === guestPort) ports.push(...hostPortsFor(guestPort, guestPort + 1));
    let last: unknown = operationFailed(`This host keeps port ${guestPort} for root`, { hint: 'name a port of this host' });
    for (const hostPort of ports) {
      try {
        return await this.#openAt(vm, { ...base, hostPort });
      } catch (error) {
        last = error;
        if (hostPort === guestPort ? !isForbidden(error) : !isTaken(error)) throw error;
      } finally {
        this.#tell();
      }
    }
    throw last;
  }

  list(vm: Pick<Vm, 'id'>): readonly PortForward[] {
    return [...this.#entries.get(vm.id)?.slots.values() ?? []].map(({ forward }) => forward);
  }

  close(vm: Pick<Vm, 'id'>, forward: PortForward): void {
    const entry = this.#entries.get(vm.id);
    const slot = entry?.slots.get(slotKey(forward));
    if (entry !== undefined && slot?.forward.source === forward.source) drop(entry, slotKey(forward));
  }

  setUnforwarded(vm: Pick<Vm, 'id'>, ports: readonly UnforwardedPort[]): void {
    const entry = this.#entries.get(vm.id);
    if (entry !== undefined) entry.unforwarded = ports;
  }

  unforwarded(vm: Pick<Vm, 'id'>): readonly UnforwardedPort[] {
    return this.#entries.get(vm.id)?.unforwarded ?? [];
  }

  onPublish(listener: (vmId: string) => void): () => void {
    this.#publishListeners.add(listener);
    return () => { this.#publishListeners.delete(listener); };
  }

  closeVm(vmId: string): void {
    const entry = this.#entries.get(vmId);
    this.#entries.delete(vmId);
    if (entry === undefined) return;
    for (const key of entry.slots.keys()) drop(entry, key);
    for (const socket of entry.connections) socket.destroy();
  }

  closeAll(): void {
    for (const id of this.#entries.keys()) this.closeVm(id);
  }

  async #openAt(vm: Vm, forward: PortForward): Promise<PortForward> {
    const entry = this.#entries.get(vm.id);
    if (entry === undefined) throw notRunning(vm.name, 'it has no forwards');
    const key = slotKey(forward);
    const there = entry.slots.get(key);
    if (there === undefined) return (await this.#begin(vm, entry, forward)).forward;
    await this.#listening(there);
    // Closed or given away meanwhile.
    if (entry.slots.get(key) !== there || this.#entries.get(vm.id) !== entry) return this.#openAt(vm, forward);
    const { source, guestPort, guestHost } = there.forward;
    const isSamePort = guestPort === forward.guestPort;
    if (source === 'auto' && (isSamePort || forward.source === 'added')) {
      // It goes on under the new name: nobody who has a connection, or is about to make one, need notice.
      there.forward = forward;
    } else if (!isSamePort || (forward.source === 'added' && guestHost !== forward.guestHost)) {
      throw this.#busy(forward);
    }
    return there.forward;
  }

  async #listening({ ready, forward }: Slot): Promise<void> {
    try {
      await ready;
    } catch (error) {
      throw this.#listenError(forward, error as NodeJS.ErrnoException);
    }
  }

  /** Takes the port; on failure it is free again. */
  async #begin(vm: Vm, entry: Entry, forward: PortForward): Promise<Slot> {
    const key = slotKey(forward);
    if (forward.source !== 'auto') this.#displaceAuto(forward);
    // Also what the kernel would allow, such as one address beside all addresses: for people that is the same port.
    if (this.#ownHolder(forward) !== undefined) throw this.#busy(forward);
    const { agent, log } = this.#deps;
    const target = (): PortForward => slot.forward;
    const listener = forward.protocol === 'tcp' ? createTcpForward({ vm, agent, log, connections: entry.connections, maxConnections: this.#deps.maxConnections, joined: () => this.#joined(vm, entry), target })
      : createUdpForward({ vm, agent, log, used: () => this.#deps.use.touch(vm.id), target });
    const ready = listener.listen(forward.address, forward.hostPort);
    const slot: Slot = { vmName: vm.name, forward, listener, ready };
    entry.slots.set(key, slot);
    try {
      await ready;
    } catch (error) {
      listener.close();
      // First, so that it is not taken for its own holder.
      if (entry.slots.get(key) === slot) entry.slots.delete(key);
      throw this.#listenError(forward, error as NodeJS.ErrnoException);
    }
    if (this.#entries.get(vm.id) === entry && entry.slots.get(key) === slot) return slot;
    // Closed before it listened: `close` had nothing to close yet.
    listener.close();
    throw cancelled(`Forwarding port ${forward.guestPort} of ${vm.name}`);
  }

  #joined(vm: Vm, entry: Entry): () => void {
    entry.joined += 1;
    entry.release ??= this.#deps.use.hold(vm.id, 'connections to its ports');
    return () => {
      entry.joined -= 1;
      if (entry.joined > 0) return;
      entry.release?.();
      entry.release = undefined;
    };
  }

  /** What somebody asked for comes before what appeared. */
  #displaceAuto(forward: PortForward): void {
    for (const [vmId, entry] of this.#entries) {
      for (const [key, { forward: other }] of entry.slots) {
        if (other.source !== 'auto' || !overlaps(other, forward)) continue;
        drop(entry, key);
        this.#displaced.add(vmId);
      }
    }
  }

  #tell(...vmIds: readonly string[]): void {
    const all = new Set([...vmIds, ...this.#displaced]);
    this.#displaced.clear();
    for (const id of all) for (const listener of this.#publishListeners) listener(id);
  }

  #ownHolder(forward: PortForward): string | undefined {
    for (const { slots } of this.#entries.values()) {
      for (const { vmName, forward: other } of slots.values()) if (overlaps(other, forward)) return `VM ${vmName} (${sourceWords[other.source]})`;
    }
    return undefined;
  }

  #busy(forward: PortForward): BangerError {
    const { protocol, address, hostPort } = forward;
    const holder = this.#ownHolder(forward) ?? findPortHolder({ protocol, address, port: hostPort }) ?? 'another process';
    return busy(`Port ${address}:${hostPort}${protocol === 'udp' ? ' (UDP)' : ''}`, `${holder} listens there`);
  }

  #listenError(forward: PortForward, error: NodeJS.ErrnoException): BangerError {
    if (error.code === 'EADDRINUSE') return this.#busy(forward);
    const hint = error.code === 'EACCES' ? 'ports below 1024 need root' : error.code === 'EADDRNOTAVAIL' ? 'the address must be one of this host' : undefined;
    return operationFailed(`Cannot listen on ${forward.address}:${forward.hostPort}`, { cause: error, hint });
  }
}

function drop(entry: Entry, key: string): void {
  entry.slots.get(key)?.listener.close();
  entry.slots.delete(key);
}

function slotKey({ protocol, address, hostPort }: Pick<PortForward, 'protocol' | 'address' | 'hostPort'>): string {
  return `${protocol} ${address}:${hostPort}`;
}
function overlaps(a: PortForward, b: PortForward): boolean {
  const any = '0.0.0.0';
  return a.protocol === b.protocol && a.hostPort === b.hostPort && (a.address === b.address || a.address === any || b.address === any);
}

const isTaken = (error: unknown): boolean => (error as BangerError).code === 'busy';
const isForbidden = (error: unknown): boolean => ((error as BangerError).cause as NodeJS.ErrnoException | undefined)?.code === 'EACCES';
