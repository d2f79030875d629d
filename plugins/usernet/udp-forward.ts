// A UDP port of this host: datagrams to a port of the guest and back, through the agent's own program (`agent udp`, guest/README.md).
//
// Datagrams may be lost, as everywhere: what comes while the guest's side is begun, or faster than it takes them, is dropped beyond small buffers.
import { createSocket } from 'node:dgram';
import type { RemoteInfo, Socket } from 'node:dgram';
import { isIP } from 'node:net';
import type { GuestAgent, GuestProcess, Logger, Vm } from '../../core/plugin-api.ts';
import type { GuestPort, HostListener } from './tcp-forward.ts';

export interface UdpForwardOptions {
  readonly vm: Vm;
  readonly agent: Pick<GuestAgent, 'exec'>;
  readonly log: Logger;
  /** Told of each datagram that goes to the guest. */
  used(): void;
  target(): GuestPort;
}

/** Addresses of this host's side that are answered at one time; the one silent for longest gives way. The guest holds as many. */
export const maxClients = 256;
/** Of this host's side while the guest's is begun. */
const maxWaiting = 64;
/** What the socket may still have to send. */
const maxReplyBytes = 1024 * 1024;
const openLimitMs = 15_000;
/** After the guest's side has ended or could not be begun. */
const pauseMs = 1000;
/** Of IPv4: 65535 less two headers; a guest may say more. */
const maxDatagram = 65_507;
const headerBytes = 4;

interface Client { readonly id: number; readonly address: string; readonly port: number }

export function createUdpForward(options: UdpForwardOptions): HostListener {
  return new UdpForward(options);
}

class UdpForward implements HostListener {
  readonly #options: UdpForwardOptions;
  readonly #socket: Socket = createSocket('udp4');
  readonly #gone = new AbortController();
  /** By address and port, those heard of last at the end. */
  readonly #clients = new Map<string, Client>();
  readonly #byId = new Map<number, Client>();
  #nextId = 0;
  #waiting: Buffer[] = [];
  #guest: GuestProcess | 'opening' | undefined;
  #notBefore = 0;

  constructor(options: UdpForwardOptions) {
    this.#options = options;
  }

  listen(address: string, port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.once('error', reject);
      // A socket that is closed before it is bound says no more.
      this.#gone.signal.addEventListener('abort', () => reject(new Error('closed')), { once: true });
      this.#socket.bind({ address, port, exclusive: true }, () => {
        this.#socket.removeListener('error', reject);
        this.#socket.on('error', (error) => this.#options.log.warn({ vm: this.#options.vm.name, err: error }, 'A forwarded UDP port had an error'));
        this.#socket.on('message', (data, from) => this.#fromHost(data, from));
        resolve();
      });
    });
  }

  close(): void {
    if (this.#gone.signal.aborted) return;
    this.#gone.abort();
    this.#socket.close();
    this.#endGuest();
  }

  #fromHost(data: Buffer, from: RemoteInfo): void {
    // One that names no port to answer at, as UDP allows: sending there throws.
    if (from.port === 0) return;
    const record = Buffer.allocUnsafe(headerBytes + data.length);
    record.writeUInt16LE(data.length, 0);
    record.writeUInt16LE(this.#clientOf(from).id, 2);
    data.copy(record, headerBytes);
    const guest = this.#guest;
    if (guest === undefined || guest === 'opening') {
      if (this.#waiting.length < maxWaiting) this.#waiting.push(record);
      if (guest === undefined) void this.#begin();
    } else if (!guest.stdin.writableNeedDrain && guest.stdin.writable) {
      guest.stdin.write(record);
      this.#options.used();
    }
  }

  #clientOf({ address, port }: RemoteInfo): Client {
    const key = `${address}:${port}`;
    const known = this.#clients.get(key);
    if (known !== undefined) {
      this.#clients.delete(key);
      this.#clients.set(key, known);
      return known;
    }
    const [oldest] = this.#clients;
    if (oldest !== undefined && this.#clients.size >= maxClients) {
      this.#clients.delete(oldest[0]);
      this.#byId.delete(oldest[1].id);
    }
    // A number comes again only after all others, so that a late answer reaches nobody else.
    do this.#nextId = (this.#nextId + 1) & 0xffff; while (this.#byId.has(this.#nextId));
    const client: Client = { id: this.#nextId, address, port };
    this.#clients.set(key, client);
    this.#byId.set(client.id, client);
    return client;
  }

  async #begin(): Promise<void> {
    const { vm, agent, log, target } = this.#options;
    if (this.#gone.signal.aborted) return;
    if (performance.now() < this.#notBefore) {
      this.#waiting = [];
      return;
    }
    this.#guest = 'opening';
    const { guestPort, guestHost } = target();
    // A numeric address, or the default, which is 127.0.0.1.
    const words = ['udp', String(guestPort), ...(isIP(guestHost) === 0 ? [] : [guestHost])];
    try {
      const signal = AbortSignal.any([this.#gone.signal, AbortSignal.timeout(openLimitMs)]);
      const process = await agent.exec(vm, { command: words, builtin: true, env: {}, stdin: true, background: true }, signal);
      this.#guest = process;
      if (this.#gone.signal.aborted) return this.#endGuest();
      this.#serve(process);
    } catch (error) {
      log.debug({ vm: vm.name, guestPort, err: error }, 'the guest takes no datagrams');
      this.#endGuest();
    }
  }

  #serve(process: GuestProcess): void {
    const over = (): void => { if (this.#guest === process) this.#endGuest(); };
    let rest: Buffer = Buffer.alloc(0);
    process.stdin.on('error', over);
    process.stdout.on('error', over);
    process.stderr.on('error', () => undefined);
    process.stderr.resume();
    process.stdout.on('data', (chunk: Buffer) => {
      rest = this.#fromGuest(rest.length === 0 ? chunk : Buffer.concat([rest, chunk]));
    });
    process.exit.then(over, over);
    for (const record of this.#waiting.splice(0)) process.stdin.write(record);
  }

  /** Sends on what is whole, and gives back the rest. */
  #fromGuest(bytes: Buffer): Buffer {
    let at = 0;
    // It may go on for a while after it was hung up; the socket is gone then, and answers nothing.
    if (this.#gone.signal.aborted) return Buffer.alloc(0);
    while (bytes.length - at >= headerBytes) {
      const length = bytes.readUInt16LE(at);
      const end = at + headerBytes + length;
      if (end > bytes.length) break;
      const client = this.#byId.get(bytes.readUInt16LE(at + 2));
      const isRoom = length <= maxDatagram && this.#socket.getSendQueueSize() < maxReplyBytes;
      // An address that does not answer any more is told by the callback, and is no affair of the others.
      if (client !== undefined && isRoom) this.#socket.send(bytes.subarray(at + headerBytes, end), client.port, client.address, () => undefined);
      at = end;
    }
    // A copy: what is kept must not hold the whole chunk.
    return Buffer.from(bytes.subarray(at));
  }

  #endGuest(): void {
    const guest = this.#guest;
    this.#guest = undefined;
    this.#waiting = [];
    this.#notBefore = performance.now() + pauseMs;
    if (guest !== undefined && guest !== 'opening') guest.hangup();
  }
}
