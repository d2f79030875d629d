// The CLI's connection to the daemon: finds or starts it, agrees on build and protocol, and hands out typed calls.
import type { HelloParams, HelloResult, ProgressNotice } from '../core/api.ts';
import { protocolVersion } from '../core/api.ts';
import { buildInfo, isNewerBuild } from '../core/build-info.ts';
import { BangerError, isBangerError, timedOut } from '../core/errors.ts';
import { requireSafeSocketDir, resolvePaths, type Paths } from '../core/paths.ts';
import type { FrameStream } from '../core/plugin-api.ts';
import { attach, connect, type RpcClient } from '../core/rpc/client.ts';
import type { RpcMethodName, RpcMethods } from '../core/rpc/methods.ts';

export interface CallOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (notice: ProgressNotice) => void;
  readonly timeoutMs?: number;
  /** Changes nothing in the daemon: sent together with the hello, and again if the daemon had to be replaced. */
  readonly read?: boolean;
}
export interface Daemon {
  readonly paths: Paths;
  /** @throws the daemon's error as BangerError, op id in `detail.opId`; daemon_unreachable when the connection is lost */
  call<M extends RpcMethodName>(method: M, params: RpcMethods[M]['params'], options?: CallOptions): Promise<RpcMethods[M]['result']>;
  /** Any method, such as a plugin's. */
  callAny(method: string, params: object, options?: CallOptions): Promise<unknown>;
  /** Opens the byte stream of a ticket. */
  attach(ticket: string): Promise<FrameStream>;
  close(): void;
}
export interface LinkOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** A line for the person. */
  say(line: string): void;
  /** @default true */
  readonly start?: boolean;
}

const connectTimeoutMs = 5000;
const helloTimeoutMs = 10_000;
const goneTimeoutMs = 15_000;

const major = (protocol: string): string => protocol.split('.', 1)[0]!;

export class DaemonLink implements Daemon {
  readonly paths: Paths;
  readonly #options: LinkOptions;
  #client: RpcClient;
  /** Settles when the daemon that will be used has been agreed on. */
  readonly #agreed: Promise<void>;

  /** Connects, and starts the daemon when none answers. @throws daemon_unreachable, or the reason why it did not start */
  static async open(options: LinkOptions): Promise<DaemonLink> {
    const paths = resolvePaths(options.env);
    requireSafeIfPresent(paths);
    const client = await connectOrStart(paths, options);
    return new DaemonLink(paths, options, client);
  }

  private constructor(paths: Paths, options: LinkOptions, client: RpcClient) {
    this.paths = paths;
    this.#options = options;
    this.#client = client;
    this.#agreed = this.#agree();
    this.#agreed.catch(() => undefined); // every call awaits it and gets the error
  }

  async call<M extends RpcMethodName>(method: M, params: RpcMethods[M]['params'], options?: CallOptions): Promise<RpcMethods[M]['result']> {
    return await this.callAny(method, params, options) as RpcMethods[M]['result'];
  }

  async callAny(method: string, params: object, options: CallOptions = {}): Promise<unknown> {
    const { read, ...rest } = options;
    if (read !== true) await this.#agreed;
    const client = this.#client;
    const early = client.callAny(method, params, rest);
    if (read !== true) return early;
    early.catch(() => undefined); // which error counts is decided below
    await this.#agreed;
    return client === this.#client ? early : this.#client.callAny(method, params, rest);
  }

  async attach(ticket: string): Promise<FrameStream> {
    return attach(this.paths.socket, ticket);
  }

  close(): void {
    this.#client.close();
  }

  async #agree(): Promise<void> {
    const theirs = await this.#meet();
    const mine = buildInfo();
    if (isNewerBuild(mine, theirs)) {
      if (theirs.idle && this.#options.start !== false) return this.#replace();
      this.#options.say(`note: the running daemon is an older build (${theirs.version}) and busy: ${await whoIsBusy(this.#client)}; it is replaced once it is idle`);
    }
    if (major(theirs.protocol) !== major(protocolVersion)) throw wrongProtocol(theirs.protocol);
  }

  /** Its VMs run on: they are no children of the daemon. */
  async #replace(): Promise<void> {
    const gone = whenClosed(this.#client);
    await this.#client.call('shutdown', {}, { timeoutMs: helloTimeoutMs }).catch(ignoreLostConnection);
    await gone;
    this.#client = await connectOrStart(this.paths, this.#options);
    const theirs = await this.#meet();
    if (major(theirs.protocol) !== major(protocolVersion)) throw wrongProtocol(theirs.protocol);
  }

  /** A daemon that ends, or was killed, may still take connections for a moment, and then breaks them: it is as none. */
  async #meet(): Promise<HelloResult> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await sayHello(this.#client);
      } catch (error) {
        if (attempt === 5) throw error;
        ignoreLostConnection(error);
        this.#client = await connectOrStart(this.paths, this.#options);
      }
    }
  }
}

async function sayHello(client: RpcClient): Promise<HelloResult> {
  const params: HelloParams = { protocol: protocolVersion, build: buildInfo().build };
  return client.call('rpc.hello', params, { timeoutMs: helloTimeoutMs });
}

const wrongProtocol = (theirs: string): BangerError =>
  new BangerError('bad_version', `The daemon speaks protocol ${theirs}, this banger ${protocolVersion}`, { hint: 'banger daemon stop, then try again: the next command starts the right one' });

async function whoIsBusy(client: RpcClient): Promise<string> {
  try {
    const { operations } = await client.call('daemon.operations.list', {}, { timeoutMs: helloTimeoutMs });
    const running = operations.filter((operation) => !operation.done).map((operation) => [operation.kind, operation.subject].filter(Boolean).join(' '));
    return running.length === 0 ? 'other clients are connected' : running.join(', ');
  } catch (error) {
    if (!isBangerError(error)) throw error;
    return 'it does not say with what'; // an old daemon need not know the method
  }
}

/** Resolves when the daemon has closed the connection. */
export function whenClosed(client: RpcClient): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(timedOut('the daemon to stop', goneTimeoutMs, 'shutdown')), goneTimeoutMs);
    client.onClose(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** A daemon that stops may close before its answer is out. */
export function ignoreLostConnection(error: unknown): void {
  if (!isBangerError(error) || error.code !== 'daemon_unreachable') throw error;
}

function requireSafeIfPresent(paths: Paths): void {
  try {
    requireSafeSocketDir(paths);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error; // the daemon makes it
  }
}

async function connectOrStart(paths: Paths, options: LinkOptions): Promise<RpcClient> {
  const client = await tryConnect(paths);
  if (client) return client;
  if (options.start === false) throw notRunningDaemon();
  const { startDaemon } = await import('./start-daemon.ts');
  return startDaemon(paths, () => tryConnect(paths));
}

/** Nothing when no daemon listens. */
export async function tryConnect(paths: Paths): Promise<RpcClient | undefined> {
  try {
    return await connect(paths.socket, { timeoutMs: connectTimeoutMs });
  } catch (error) {
    if (isNobodyThere(error)) return undefined;
    throw error;
  }
}

function isNobodyThere(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ECONNRESET') return true;
  }
  return false;
}

export const notRunningDaemon = (): BangerError =>
  new BangerError('daemon_unreachable', 'The daemon is not running', { hint: 'any command that needs it starts it; or banger daemon start' });
