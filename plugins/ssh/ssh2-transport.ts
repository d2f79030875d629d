// One client's byte stream as SSH messages. Whatever comes, it ends in `closed` and never throws.
import type { Socket } from 'node:net';
import type { Ssh2, Ssh2Handlers, Ssh2Protocol } from './ssh2-protocol.ts';

/** RFC 4253 11.1 and RFC 4254 5.1. */
export const disconnectReason = { protocolError: 2, serviceNotAvailable: 7, byApplication: 11, tooManyConnections: 12, noMoreAuthMethods: 14 } as const;

const algorithms = {
  kex: ['curve25519-sha256', 'curve25519-sha256@libssh.org', 'ecdh-sha2-nistp256'],
  serverHostKey: ['ssh-ed25519'],
  // The client's order decides, and OpenSSH's begins with chacha20; our own ssh config asks for these in this order.
  cipher: ['aes128-gcm@openssh.com', 'aes256-gcm@openssh.com', 'chacha20-poly1305@openssh.com', 'aes128-ctr', 'aes192-ctr', 'aes256-ctr'],
  mac: ['hmac-sha2-256-etm@openssh.com'],
};

/** Above this much unsent output what feeds channels waits; the socket itself knows no limit. */
const congestedBytes = 1024 * 1024;
/** Above this much the client's own requests wait, too: it sends them and does not read the answers. */
const stoppedBytes = 4 * 1024 * 1024;
/** For a last message to a client that may not read it. */
const lingerMs = 2000;

export interface TransportOptions {
  readonly ssh2: Ssh2;
  /** OpenSSH PEM, ed25519. */
  readonly hostKey: string;
  readonly handlers: Omit<Ssh2Handlers, 'DISCONNECT'>;
  /** Output may go on after `congested` was true. */
  readonly onRoom: () => void;
  /** Once. `error`: what the client did wrong or what happened to the socket; absent for an orderly end. */
  readonly onClosed: (error?: Error) => void;
}

export interface Transport {
  /** Keys are agreed: what is said is secret. */
  readonly isSecret: boolean;
  /** Too much is unsent, or keys are being exchanged: whoever has more to send waits for `onRoom`. */
  readonly congested: boolean;
  readonly closed: boolean;
  /** Sends messages; nothing when closed. */
  tell(say: (messages: Ssh2Protocol) => void): void;
  /** Sends one message given as its bytes. */
  send(payload: Buffer): void;
  /** Says why and closes. Does nothing when closed. */
  disconnect(reason: number, text: string): void;
  destroy(error?: Error): void;
}

/** Speaks SSH on a connected socket from its next byte on. */
export function createTransport(socket: Socket, options: TransportOptions): Transport {
  const { ssh2, handlers, onRoom, onClosed } = options;
  let closed = false;
  let isSecret = false;
  let wasCongested = false;

  const close = (error?: Error): void => {
    if (closed) return;
    closed = true;
    protocol.cleanup();
    onClosed(error);
  };
  const destroy = (error?: Error): void => {
    close(error);
    socket.destroy();
  };
  const linger = (error?: Error): void => {
    close(error);
    socket.end();
    const timer = setTimeout(() => socket.destroy(), lingerMs);
    socket.once('close', () => clearTimeout(timer));
  };
  /** What the client sent makes no sense. Before there are keys nobody is told: that is a scan, not a client. */
  const refuse = (error: Error): void => {
    if (!isSecret) return destroy(error);
    tell(() => sendDisconnect(ssh2, protocol, { reason: disconnectReason.protocolError, text: 'Protocol error' }));
    linger(error);
  };
  const tell = (say: (messages: Ssh2Protocol) => void): void => {
    if (closed) return;
    try {
      say(protocol);
    } catch (error) {
      destroy(toError(error));
    }
  };
  const protocol = new ssh2.Protocol({
    server: true, ident: 'banger',
    hostKeys: { 'ssh-ed25519': ssh2.parseKey(options.hostKey) },
    offer: makeOffer(),
    onWrite: (data: Buffer) => { if (socket.writable) socket.write(data); },
    // A fault that ssh2 has told the client about.
    onError: (error: Error) => linger(error),
    onHandshakeComplete: () => {
      isSecret = true;
      if (wasCongested) signalRoom();
    },
    messageHandlers: { ...handlers, DISCONNECT: () => linger() } satisfies Ssh2Handlers,
  });
  const isCongested = (): boolean => socket.writableLength > congestedBytes || protocol._kexinit !== undefined;
  const signalRoom = (): void => {
    if (closed || isCongested()) return;
    wasCongested = false;
    onRoom();
  };

  socket.on('data', (data: Buffer) => {
    if (closed) return;
    try {
      protocol.parse(data, 0, data.length);
    } catch (error) {
      refuse(toError(error));
    }
    if (socket.writableLength > stoppedBytes) socket.pause();
  });
  socket.on('drain', () => {
    if (socket.isPaused()) socket.resume();
    if (wasCongested) signalRoom();
  });
  socket.on('error', (error) => close(error));
  socket.on('end', () => destroy());
  socket.on('close', () => close());

  const transport: Transport = {
    tell,
    get isSecret() { return isSecret; },
    get closed() { return closed; },
    get congested() {
      const congested = isCongested();
      if (congested) wasCongested = true;
      return congested;
    },
    send(payload) {
      tell(() => {
        const { write } = protocol._packetRW;
        const start = write.allocStart;
        const packet = write.alloc(payload.length);
        packet.set(payload, start);
        ssh2.sendPacket(protocol, write.finalize(packet));
      });
    },
    disconnect(reason, text) {
      tell(() => sendDisconnect(ssh2, protocol, { reason, text }));
      linger();
    },
    destroy,
  };
  protocol.start();
  socket.resume();
  return transport;
}

function makeOffer(): object {
  const direction = { cipher: algorithms.cipher, mac: algorithms.mac, compress: ['none'], lang: [] };
  // Strict key exchange is added by ssh2 (it closes the Terrapin attack on chacha20 and encrypt-then-MAC).
  return { kex: [...algorithms.kex], serverHostKey: algorithms.serverHostKey, cs: direction, sc: direction };
}

/** Also in the middle of a key exchange, where other messages wait. */
function sendDisconnect(ssh2: Ssh2, protocol: Ssh2Protocol, message: { readonly reason: number; readonly text: string }): void {
  const payload = Buffer.concat([Buffer.from([1]), uint32(message.reason), sshString(message.text), sshString('')]);
  const { write } = protocol._packetRW;
  const start = write.allocStartKEX;
  const packet = write.alloc(payload.length, true);
  packet.set(payload, start);
  ssh2.sendPacket(protocol, write.finalize(packet, true), true);
}

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** `string` of RFC 4251 5. */
export function sshString(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  return Buffer.concat([uint32(bytes.length), bytes]);
}
