// What we use of ssh2: its `Protocol` (packets, key exchange, ciphers), not its `Server`. That one closes a channel whole when one
// side ends, writes stderr again after a stall, takes data beyond the window, never waits for the socket, and has no call for agent
// forwarding nor a text for DISCONNECT. All of these are below its public API, so the version is exact and ssh2-protocol.test.ts
// pins what is used. Loaded with the first connection: the import takes 60 ms, which the daemon's start need not pay.

/** A public or private key as ssh2 parses it. */
export interface Ssh2Key {
  readonly type: string;
  getPublicSSH(): Buffer;
  /** An Error for a signature that cannot be one. `hash`: for RSA, whose key type names none. */
  verify(data: Buffer, signature: Buffer, hash?: string): boolean | Error;
}

export interface Ssh2AuthKey {
  /** Key type: `ssh-rsa` for every RSA algorithm. */
  readonly keyAlgo: string;
  readonly key: Buffer;
  /** Set for rsa-sha2-256 and rsa-sha2-512. */
  readonly hashAlgo?: string;
  /** Absent: the client only asks whether the key would do. */
  readonly signature?: Buffer;
  /** What the signature is over. */
  readonly blob?: Buffer;
}
export interface Ssh2ChannelOpen {
  readonly type: string;
  /** The client's number. */
  readonly sender: number;
  readonly window: number;
  readonly packetSize: number;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Messages to the client. `chan`: the client's number of the channel. */
export interface Ssh2Protocol {
  start(): void;
  parse(chunk: Buffer, from: number, to: number): void;
  cleanup(): void;
  serviceAccept(name: string): void;
  authFailure(methods: readonly string[], isPartial: boolean): void;
  authPKOK(algorithm: string, key: Buffer): void;
  authSuccess(): void;
  requestSuccess(data?: Buffer): void;
  requestFailure(): void;
  channelOpenConfirm(chan: number, local: number, window: number, packetSize: number): void;
  channelOpenFail(chan: number, reason: number, text: string): void;
  channelWindowAdjust(chan: number, bytes: number): void;
  channelData(chan: number, data: Buffer): void;
  channelExtData(chan: number, data: Buffer, type: number): void;
  channelEOF(chan: number): void;
  channelClose(chan: number): void;
  channelSuccess(chan: number): void;
  channelFailure(chan: number): void;
  exitStatus(chan: number, status: number): void;
  forwardedTcpip(local: number, window: number, packetSize: number, config: {
    readonly boundAddr: string; readonly boundPort: number; readonly remoteAddr: string; readonly remotePort: number;
  }): void;
  openssh_forwardedStreamLocal(local: number, window: number, packetSize: number, config: { readonly socketPath: string }): void;
  openssh_authAgent(local: number, window: number, packetSize: number): void;
  /** Set while keys are exchanged: what is sent meanwhile is queued without limit. */
  readonly _kexinit: unknown;
  readonly _packetRW: {
    readonly write: {
      readonly allocStart: number;
      readonly allocStartKEX: number;
      alloc(bytes: number, force?: boolean): Buffer;
      finalize(packet: Buffer, force?: boolean): Buffer;
    };
  };
}

/** Messages from the client. The first argument is the protocol itself. */
export interface Ssh2Handlers {
  DISCONNECT(p: Ssh2Protocol, reason: number, text: string): void;
  SERVICE_REQUEST(p: Ssh2Protocol, name: string): void;
  USERAUTH_REQUEST(p: Ssh2Protocol, user: string, service: string, method: string, data: unknown): void;
  GLOBAL_REQUEST(p: Ssh2Protocol, name: string, wantReply: boolean, data: unknown): void;
  CHANNEL_OPEN(p: Ssh2Protocol, info: Ssh2ChannelOpen): void;
  CHANNEL_OPEN_CONFIRMATION(p: Ssh2Protocol, info: { readonly recipient: number; readonly sender: number; readonly window: number; readonly packetSize: number }): void;
  CHANNEL_OPEN_FAILURE(p: Ssh2Protocol, recipient: number, reason: number, text: string): void;
  CHANNEL_DATA(p: Ssh2Protocol, recipient: number, data: Buffer): void;
  CHANNEL_WINDOW_ADJUST(p: Ssh2Protocol, recipient: number, bytes: number): void;
  CHANNEL_EOF(p: Ssh2Protocol, recipient: number): void;
  CHANNEL_CLOSE(p: Ssh2Protocol, recipient: number): void;
  CHANNEL_REQUEST(p: Ssh2Protocol, recipient: number, type: string, wantReply: boolean, data: unknown): void;
}

export interface Ssh2 {
  readonly Protocol: new (config: object) => Ssh2Protocol;
  readonly sendPacket: (protocol: Ssh2Protocol, packet: Buffer, bypass?: boolean) => boolean;
  /** @throws Error when it is no key. */
  parseKey(data: string | Buffer): Ssh2Key;
}

let loading: Promise<Ssh2> | undefined;

/** Loads ssh2 once; a failure is tried again by the next call. */
export function loadSsh2(): Promise<Ssh2> {
  loading ??= load().catch((error: unknown) => {
    loading = undefined;
    throw error;
  });
  return loading;
}

async function load(): Promise<Ssh2> {
  const [protocol, keyParser, crypto, utils] = await Promise.all([
    import('ssh2/lib/protocol/Protocol.js'), import('ssh2/lib/protocol/keyParser.js'),
    import('ssh2/lib/protocol/crypto.js'), import('ssh2/lib/protocol/utils.js'),
  ]);
  await crypto.default.init;
  return {
    Protocol: protocol.default,
    sendPacket: (...args) => utils.default.sendPacket(...args),
    parseKey(data) {
      const parsed = keyParser.default.parseKey(data);
      if (parsed instanceof Error) throw parsed;
      const key = Array.isArray(parsed) ? (parsed as readonly Ssh2Key[])[0] : parsed as Ssh2Key;
      if (key === undefined) throw new Error('There is no key');
      return key;
    },
  };
}
