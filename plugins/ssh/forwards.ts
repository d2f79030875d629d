// Forwarded connections both ways, and what listens in the guest for a client (-R, agent forwarding).
import { randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import type { GuestListener, GuestListenTarget, GuestTarget } from '../../core/plugin-api.ts';
import { channelPacket, channelWindow } from './channel.ts';
import type { SshChannel } from './channel.ts';
import type { SshConnection } from './connection.ts';
import { uint32 } from './ssh2-transport.ts';

const openLimitMs = 20_000;
const maxPathLength = 107;
const maxAddressLength = 255;

/** A connection made inside the guest; given up with the client. @throws as GuestAgent.dial */
export async function dialFor(connection: SshConnection, target: GuestTarget): Promise<Duplex> {
  const { agent, vm, ready } = connection.options;
  const signal = AbortSignal.any([connection.gone, AbortSignal.timeout(openLimitMs)]);
  await ready(signal);
  return agent.dial(vm, target, signal);
}

/** Joins both until both have ended; each direction ends by itself, and neither outlives the other's failure. */
export function joinStream(channel: SshChannel, stream: Duplex): void {
  stream.on('error', () => undefined);
  channel.gone.addEventListener('abort', () => stream.destroy(), { once: true });
  channel.attach(stream);
  void channel.pump(stream, 'stdout').then(async (isWhole) => {
    if (isWhole) {
      channel.eof();
      await channel.inputEnded;
    }
    channel.close();
    stream.destroy();
  });
}

type Outcome = { readonly ok: boolean; readonly data?: Buffer };
const refused: Outcome = { ok: false };

/** What one client has listening in the guest. All of it ends with the client. */
export class RemoteForwards {
  readonly #connection: SshConnection;
  /** By what the client calls it when it cancels. */
  readonly #listeners = new Map<string, GuestListener>();
  #opening = 0;
  #agentSocket: Promise<string | undefined> | undefined;

  constructor(connection: SshConnection) {
    this.#connection = connection;
  }

  get count(): number {
    return this.#listeners.size + this.#opening;
  }

  /** One global request. Never rejects. */
  async request(name: string, data: unknown): Promise<Outcome> {
    const { bindAddr, bindPort, socketPath } = (data ?? {}) as { bindAddr?: string; bindPort?: number; socketPath?: string };
    switch (name) {
      case 'tcpip-forward':
        return this.#listenTcp(bindAddr ?? '', bindPort ?? 0);
      case 'streamlocal-forward@openssh.com':
        return this.#listenUnix(socketPath ?? '');
      case 'cancel-tcpip-forward':
        return this.#cancel(tcpKey(bindAddr ?? '', bindPort ?? 0));
      case 'cancel-streamlocal-forward@openssh.com':
        return this.#cancel(unixKey(socketPath ?? ''));
      default:
        // keepalive@openssh.com among them: any answer will do.
        return refused;
    }
  }

  /** Path in the guest of a socket that leads to the client's agent; undefined when none can be made. One for the connection. */
  agentSocket(): Promise<string | undefined> {
    this.#agentSocket ??= this.#makeAgentSocket();
    return this.#agentSocket;
  }

  close(): void {
    for (const listener of this.#listeners.values()) listener.close();
    this.#listeners.clear();
  }

  async #makeAgentSocket(): Promise<string | undefined> {
    // The name is not to be guessed, and the agent makes the socket 0600 as the user. A scratch image may have no /tmp.
    const name = `banger-agent-${randomBytes(12).toString('hex')}.sock`;
    for (const dir of ['/tmp', '/run']) {
      const path = `${dir}/${name}`;
      const listener = await this.#listen({ path, user: this.#connection.user }, (stream) => {
        this.#connection.openFor(stream, (messages, local) => messages.openssh_authAgent(local, channelWindow, channelPacket));
      });
      if (listener !== undefined && this.#keep(unixKey(path), listener)) return path;
    }
    return undefined;
  }

  async #listenTcp(address: string, port: number): Promise<Outcome> {
    if (address.length > maxAddressLength || port > 65_535 || this.#listeners.has(tcpKey(address, port))) return refused;
    let bound = port;
    // RFC 4254 7.1: '' is every address; the client knows the forward again by the words it used.
    const listener = await this.#listen({ host: address === '' ? '*' : address, port }, (stream, from) => {
      this.#connection.openFor(stream, (messages, local) => messages.forwardedTcpip(local, channelWindow, channelPacket, {
        boundAddr: address, boundPort: bound, remoteAddr: from.host, remotePort: from.port,
      }));
    });
    if (listener === undefined) return refused;
    if (port === 0) bound = listener.port;
    if (!this.#keep(tcpKey(address, bound), listener)) return refused;
    return port === 0 ? { ok: true, data: uint32(bound) } : { ok: true };
  }

  async #listenUnix(path: string): Promise<Outcome> {
    if (!path.startsWith('/') || Buffer.byteLength(path) > maxPathLength || this.#listeners.has(unixKey(path))) return refused;
    const listener = await this.#listen({ path, user: this.#connection.user }, (stream) => {
      this.#connection.openFor(stream, (messages, local) => {
        messages.openssh_forwardedStreamLocal(local, channelWindow, channelPacket, { socketPath: path });
      });
    });
    return listener !== undefined && this.#keep(unixKey(path), listener) ? { ok: true } : refused;
  }

  async #listen(target: GuestListenTarget, onConnection: (stream: Duplex, from: { readonly host: string; readonly port: number }) => void): Promise<GuestListener | undefined> {
    const { agent, vm, log, ready } = this.#connection.options;
    this.#opening += 1;
    try {
      const signal = AbortSignal.any([this.#connection.gone, AbortSignal.timeout(openLimitMs)]);
      await ready(signal);
      return await agent.listen(vm, target, { signal, onConnection });
    } catch (error) {
      log.debug({ vm: vm.name, err: error }, 'the guest did not listen for an ssh client');
      return undefined;
    } finally {
      this.#opening -= 1;
    }
  }

  #keep(key: string, listener: GuestListener): boolean {
    if (this.#connection.gone.aborted || this.#listeners.has(key)) {
      listener.close();
      return false;
    }
    this.#listeners.set(key, listener);
    void listener.closed.then(() => { if (this.#listeners.get(key) === listener) this.#listeners.delete(key); });
    return true;
  }

  #cancel(key: string): Outcome {
    const listener = this.#listeners.get(key);
    this.#listeners.delete(key);
    listener?.close();
    return { ok: listener !== undefined };
  }
}

const tcpKey = (address: string, port: number): string => `tcp ${address} ${port}`;
const unixKey = (path: string): string => `unix ${path}`;
