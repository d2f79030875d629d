// The connection layer of one client (RFC 4254): authentication first, then channels and global requests. What a channel carries is
// session.ts and forwards.ts.
import type { Duplex } from 'node:stream';
import type { Socket } from 'node:net';
import type { GuestAgent, Logger, Vm } from '../../core/plugin-api.ts';
import { createAuthenticator } from './auth.ts';
import type { AuthRequest } from './auth.ts';
import { channelPacket, channelWindow, SshChannel } from './channel.ts';
import type { ChannelPort } from './channel.ts';
import { dialFor, joinStream, RemoteForwards } from './forwards.ts';
import { GuestSession } from './session.ts';
import type { Ssh2, Ssh2ChannelOpen, Ssh2Handlers, Ssh2Protocol } from './ssh2-protocol.ts';
import { createTransport, disconnectReason } from './ssh2-transport.ts';
import type { Transport } from './ssh2-transport.ts';

export interface ConnectionOptions {
  readonly vm: Vm;
  readonly agent: Pick<GuestAgent, 'exec' | 'dial' | 'listen'>;
  readonly log: Logger;
  /** A daemon that has just come up serves before it has its VMs' sessions again: waits for this VM's. @throws not_running; cancelled */
  readonly ready: (signal: AbortSignal) => Promise<void>;
  readonly ssh2: Ssh2;
  /** OpenSSH PEM. */
  readonly hostKey: string;
  readonly authorizedKeys: readonly string[];
  readonly maxAuthTries: number;
  readonly maxChannels: number;
  /** A text is why this client is refused though its key is good. */
  readonly onAuthenticated: (user: string) => string | undefined;
  /** Once, when it is over. */
  readonly onClosed: () => void;
}

/** Bound of what a client may ask before the answers to its earlier requests are there. */
const maxPendingRequests = 64;
const maxHostLength = 255;
const openFailed = { prohibited: 1, connectFailed: 2, unknownType: 3, shortage: 4 } as const;
const stderrType = 1;

/** A channel that we asked the client for. */
interface Opening { readonly opened: (channel: SshChannel) => void; readonly refused: () => void }

export class SshConnection {
  readonly options: ConnectionOptions;
  user = '';
  readonly #transport: Transport;
  readonly #gone = new AbortController();
  readonly #channels = new Map<number, SshChannel | Opening>();
  readonly #sessions = new Map<number, GuestSession>();
  readonly #forwards: RemoteForwards;
  readonly #auth: ReturnType<typeof createAuthenticator>;
  #phase: 'keys' | 'auth' | 'open' = 'keys';
  #opening = 0;
  #nextChannel = 0;
  #hasNoMoreSessions = false;
  #replies: Promise<void> = Promise.resolve();
  #pendingReplies = 0;

  constructor(socket: Socket, options: ConnectionOptions) {
    this.options = options;
    this.#auth = createAuthenticator({
      authorizedKeys: options.authorizedKeys, maxTries: options.maxAuthTries, parseKey: (line) => options.ssh2.parseKey(line),
    });
    this.#forwards = new RemoteForwards(this);
    this.#transport = createTransport(socket, {
      ssh2: options.ssh2, hostKey: options.hostKey, handlers: this.#handlers(),
      onRoom: () => { for (const channel of this.#channels.values()) if (channel instanceof SshChannel) channel.wake(); },
      onClosed: (error) => this.#onClosed(error),
    });
  }

  /** Fires when the connection is over. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  get forwards(): RemoteForwards {
    return this.#forwards;
  }

  /** Ends the connection; the client shows the text. */
  disconnect(text: string, reason: number = disconnectReason.byApplication): void {
    this.#transport.disconnect(reason, text);
  }

  tell(say: (messages: Ssh2Protocol) => void): void {
    this.#transport.tell(say);
  }

  send(payload: Buffer): void {
    this.#transport.send(payload);
  }

  /** Asks the client for a channel and joins it with the stream; without one the stream is destroyed. `ask` sends the request. */
  openFor(stream: Duplex, ask: (messages: Ssh2Protocol, local: number) => void): void {
    stream.on('error', () => undefined);
    if (this.#isFull() || this.gone.aborted) {
      stream.destroy();
      return;
    }
    const local = this.#takeNumber();
    this.#channels.set(local, { opened: (channel) => joinStream(channel, stream), refused: () => stream.destroy() });
    this.#transport.tell((messages) => ask(messages, local));
  }

  #isFull(): boolean {
    return this.#channels.size + this.#opening + this.#forwards.count >= this.options.maxChannels;
  }

  #takeNumber(): number {
    do this.#nextChannel = (this.#nextChannel + 1) % 0x1_0000_0000; while (this.#channels.has(this.#nextChannel));
    return this.#nextChannel;
  }

  // ---- messages of the client

  #handlers(): Omit<Ssh2Handlers, 'DISCONNECT'> {
    /** Before authentication none of these has a place. */
    const whenOpen = <A extends readonly unknown[]>(handle: (...args: A) => void) => (_: Ssh2Protocol, ...args: A): void => {
      if (this.#phase !== 'open') throw new Error('The client spoke before it had authenticated');
      handle(...args);
    };
    const onChannel = <A extends readonly unknown[]>(handle: (channel: SshChannel, ...args: A) => void) => whenOpen((local: number, ...args: A) => {
      const channel = this.#channels.get(local);
      if (!(channel instanceof SshChannel)) throw new Error(`The client named channel ${local}, which is not open`);
      handle(channel, ...args);
    });
    return {
      SERVICE_REQUEST: (_, name) => this.#onService(name),
      USERAUTH_REQUEST: (_, user, service, method, data) => this.#onAuth({ user, service, method, data }),
      GLOBAL_REQUEST: whenOpen((name: string, wantReply: boolean, data: unknown) => this.#onGlobal({ name, wantReply, data })),
      CHANNEL_OPEN: whenOpen((info: Ssh2ChannelOpen) => this.#onOpen(info)),
      CHANNEL_OPEN_CONFIRMATION: whenOpen((info: { recipient: number; sender: number; window: number; packetSize: number }) => this.#onConfirmed(info)),
      CHANNEL_OPEN_FAILURE: whenOpen((local: number) => {
        const opening = this.#channels.get(local);
        if (opening === undefined || opening instanceof SshChannel) throw new Error('The client refused a channel nobody asked for');
        this.#channels.delete(local);
        opening.refused();
      }),
      CHANNEL_DATA: onChannel((channel: SshChannel, data: Buffer) => channel.receive(data)),
      CHANNEL_WINDOW_ADJUST: onChannel((channel: SshChannel, bytes: number) => channel.adjust(bytes)),
      CHANNEL_EOF: onChannel((channel: SshChannel) => channel.receiveEof()),
      CHANNEL_CLOSE: onChannel((channel: SshChannel) => channel.receiveClose()),
      CHANNEL_REQUEST: whenOpen((local: number, type: string, wantReply: boolean, data: unknown) => {
        const channel = this.#channels.get(local);
        if (!(channel instanceof SshChannel)) throw new Error(`The client named channel ${local}, which is not open`);
        const isDone = this.#sessions.get(local)?.onRequest(type, data) ?? false;
        if (wantReply) this.tell((messages) => (isDone ? messages.channelSuccess(channel.remote) : messages.channelFailure(channel.remote)));
        if (isDone) this.#sessions.get(local)?.begin();
      }),
    };
  }

  #onService(name: string): void {
    if (this.#phase !== 'keys' || !this.#transport.isSecret || name !== 'ssh-userauth') {
      this.disconnect('No such service', disconnectReason.serviceNotAvailable);
      return;
    }
    this.#phase = 'auth';
    this.tell((messages) => messages.serviceAccept(name));
  }

  #onAuth(request: AuthRequest): void {
    // RFC 4252 5.1: after success further requests are ignored.
    if (this.#phase === 'open') return;
    if (this.#phase !== 'auth') throw new Error('The client began to authenticate before keys were agreed');
    const answer = this.#auth.answer(request);
    switch (answer.kind) {
      case 'sign':
        this.tell((messages) => messages.authPKOK(answer.algorithm, answer.key));
        return;
      case 'refused':
        this.tell((messages) => messages.authFailure(['publickey'], false));
        return;
      case 'over':
        this.disconnect(answer.text, disconnectReason.noMoreAuthMethods);
        return;
      case 'accepted': {
        const refusal = this.options.onAuthenticated(answer.user);
        if (refusal !== undefined) {
          this.disconnect(refusal, disconnectReason.tooManyConnections);
          return;
        }
        this.user = answer.user;
        this.#phase = 'open';
        this.tell((messages) => messages.authSuccess());
      }
    }
  }

  /** Answers go out in the order of the questions, as the client tells them apart by nothing else. */
  #onGlobal({ name, wantReply, data }: { readonly name: string; readonly wantReply: boolean; readonly data: unknown }): void {
    if (this.#pendingReplies >= maxPendingRequests) throw new Error('The client asked for too much at once');
    if (name === 'no-more-sessions@openssh.com') this.#hasNoMoreSessions = true;
    const outcome = name === 'no-more-sessions@openssh.com' ? { ok: true } : this.#isFull() && !name.startsWith('cancel-')
      ? { ok: false } : this.#forwards.request(name, data);
    this.#pendingReplies += 1;
    this.#replies = this.#replies.then(async () => {
      const { ok, data: answer } = await outcome as { readonly ok: boolean; readonly data?: Buffer };
      this.#pendingReplies -= 1;
      if (wantReply) this.tell((messages) => (ok ? messages.requestSuccess(answer) : messages.requestFailure()));
    });
  }

  // ---- channels

  #onOpen(info: Ssh2ChannelOpen): void {
    const refuse = (reason: number, text: string): void => this.tell((messages) => messages.channelOpenFail(info.sender, reason, text));
    if (info.packetSize < 1) return refuse(openFailed.prohibited, 'a packet must hold something');
    if (this.#isFull()) return refuse(openFailed.shortage, `${this.options.maxChannels} channels are open`);
    switch (info.type) {
      case 'session': {
        if (this.#hasNoMoreSessions) return refuse(openFailed.prohibited, 'no more sessions, as the client said');
        const channel = this.#accept(info);
        this.#sessions.set(channel.local, new GuestSession(this, channel));
        return;
      }
      case 'direct-tcpip':
      case 'direct-streamlocal@openssh.com':
        this.#dial(info, refuse);
        return;
      default:
        refuse(openFailed.unknownType, 'no such kind of channel');
    }
  }

  #accept(info: Ssh2ChannelOpen): SshChannel {
    const local = this.#takeNumber();
    const channel = new SshChannel(this.#port, { local, remote: info.sender, window: info.window, packetSize: info.packetSize });
    this.#channels.set(local, channel);
    this.tell((messages) => messages.channelOpenConfirm(info.sender, local, channelWindow, channelPacket));
    return channel;
  }

  #dial(info: Ssh2ChannelOpen, refuse: (reason: number, text: string) => void): void {
    const { destIP: host, destPort: port, socketPath: path } = info.data as { destIP?: string; destPort?: number; socketPath?: string };
    if (path === undefined && (host === undefined || host.length > maxHostLength || port === undefined || port < 1 || port > 65_535)) {
      return refuse(openFailed.connectFailed, 'the address is not usable');
    }
    this.#opening += 1;
    dialFor(this, path === undefined ? { host: host!, port: port! } : { path, user: this.user }).then((stream) => {
      this.#opening -= 1;
      if (this.gone.aborted) stream.destroy();
      else joinStream(this.#accept(info), stream);
    }, (error: unknown) => {
      this.#opening -= 1;
      this.options.log.debug({ vm: this.options.vm.name, err: error }, 'the guest refused a connection of an ssh client');
      refuse(openFailed.connectFailed, error instanceof Error ? error.message : String(error));
    });
  }

  #onConfirmed(info: { readonly recipient: number; readonly sender: number; readonly window: number; readonly packetSize: number }): void {
    const opening = this.#channels.get(info.recipient);
    if (opening === undefined || opening instanceof SshChannel) throw new Error('The client opened a channel nobody asked for');
    const channel = new SshChannel(this.#port, {
      local: info.recipient, remote: info.sender, window: info.window, packetSize: Math.max(1, info.packetSize),
    });
    this.#channels.set(info.recipient, channel);
    opening.opened(channel);
  }

  readonly #port: ChannelPort = ((connection: SshConnection): ChannelPort => ({
    get congested() { return connection.#transport.congested; },
    data: (remote, bytes, output) => connection.tell((messages) => (output === 'stdout'
      ? messages.channelData(remote, bytes) : messages.channelExtData(remote, bytes, stderrType))),
    adjust: (remote, bytes) => connection.tell((messages) => messages.channelWindowAdjust(remote, bytes)),
    eof: (remote) => connection.tell((messages) => messages.channelEOF(remote)),
    close: (remote) => connection.tell((messages) => messages.channelClose(remote)),
    forget: (local) => {
      connection.#channels.delete(local);
      connection.#sessions.delete(local);
    },
  }))(this);

  #onClosed(error: Error | undefined): void {
    // Scans and broken clients are no trouble of ours.
    if (error !== undefined) this.options.log.debug({ vm: this.options.vm.name, err: error }, 'an ssh connection broke');
    this.#gone.abort();
    this.#forwards.close();
    for (const channel of this.#channels.values()) {
      if (channel instanceof SshChannel) channel.lost();
      else channel.refused();
    }
    this.#channels.clear();
    this.#sessions.clear();
    this.options.onClosed();
  }
}
