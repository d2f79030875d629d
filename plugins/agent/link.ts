// Keeps one VM's session open: connects through the driver, begins again when the way is lost, and tells who waits.
import type { Duplex } from 'node:stream';
import { cancelled, timedOut } from '../../core/plugin-api.ts';
import type { BangerError, Logger, Vm } from '../../core/plugin-api.ts';
import { AgentSession } from './session.ts';
import type { BootInfo } from './session.ts';

export interface LinkDeps {
  readonly log: Logger;
  connect(vm: Vm, signal: AbortSignal): Promise<Duplex>;
  /** The guest booted anew: another boot id than the one known before. */
  rebooted(vm: Vm, bootId: string): void;
  /** Whether the guest stands still. */
  isPaused(): boolean;
}
export interface LinkOptions {
  readonly vm: Vm;
  readonly token: Buffer;
  /** Boot id known from before this daemon started. */
  readonly bootId?: string | undefined;
}
export interface Link {
  /** Waits for an agent that has introduced itself. @throws timeout; cancelled; operation_failed when the link is closed */
  session(options: { readonly signal: AbortSignal; readonly timeoutMs: number }): Promise<{ readonly session: AgentSession; readonly info: BootInfo }>;
  /** Ends the session; the link is of no more use. */
  close(): void;
}

const retryMs = { first: 50, last: 2000 };

interface Waiter { resolve(found: { session: AgentSession; info: BootInfo }): void; reject(error: BangerError): void }

class AgentLink implements Link {
  readonly #deps: LinkDeps;
  readonly #vm: Vm;
  readonly #token: Buffer;
  readonly #closing = new AbortController();
  readonly #waiters = new Set<Waiter>();
  #session: AgentSession | undefined;
  #bootId: string | undefined;
  #delay = retryMs.first;
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: LinkDeps, options: LinkOptions) {
    this.#deps = deps;
    this.#vm = options.vm;
    this.#token = options.token;
    this.#bootId = options.bootId;
    void this.#connect();
  }

  session(options: { readonly signal: AbortSignal; readonly timeoutMs: number }): Promise<{ session: AgentSession; info: BootInfo }> {
    const session = this.#session;
    const info = session?.info;
    if (session !== undefined && info !== undefined) return Promise.resolve({ session, info });
    const what = `guest agent of ${this.#vm.name}`;
    const { promise, resolve, reject } = Promise.withResolvers<{ session: AgentSession; info: BootInfo }>();
    if (options.signal.aborted || this.#closing.signal.aborted) return Promise.reject(cancelled(`waiting for ${what}`));
    const timer = setTimeout(() => waiter.reject(timedOut(what, options.timeoutMs)), options.timeoutMs);
    const abort = (): void => waiter.reject(cancelled(`waiting for ${what}`));
    const settle = (finish: () => void): void => {
      clearTimeout(timer);
      options.signal.removeEventListener('abort', abort);
      this.#waiters.delete(waiter);
      finish();
    };
    const waiter: Waiter = { resolve: (found) => settle(() => resolve(found)), reject: (error) => settle(() => reject(error)) };
    options.signal.addEventListener('abort', abort, { once: true });
    this.#waiters.add(waiter);
    return promise;
  }

  close(): void {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    clearTimeout(this.#timer);
    this.#session?.close();
    for (const waiter of this.#waiters) waiter.reject(cancelled(`waiting for guest agent of ${this.#vm.name}`));
  }

  async #connect(): Promise<void> {
    try {
      const duplex = await this.#deps.connect(this.#vm, this.#closing.signal);
      if (this.#closing.signal.aborted) duplex.destroy();
      else this.#begin(duplex);
    } catch (error) {
      this.#deps.log.debug({ vm: this.#vm.name, err: error }, 'no way to the guest agent yet');
      this.#retry();
    }
  }

  #begin(duplex: Duplex): void {
    this.#session = new AgentSession(duplex, {
      token: this.#token, subject: this.#vm.name, log: this.#deps.log, isPaused: () => this.#deps.isPaused(),
      onInfo: (info) => this.#onInfo(info),
      onLost: (error, closed) => {
        this.#deps.log.debug({ vm: this.#vm.name, err: error }, 'session with the guest agent ended');
        if (closed) this.#retry();
      },
    });
  }

  #retry(): void {
    this.#session = undefined;
    if (this.#closing.signal.aborted) return;
    this.#timer = setTimeout(() => void this.#connect(), this.#delay);
    this.#timer.unref();
    this.#delay = Math.min(retryMs.last, this.#delay * 2);
  }

  #onInfo(info: BootInfo): void {
    const session = this.#session;
    if (session === undefined) return;
    this.#delay = retryMs.first;
    const before = this.#bootId;
    this.#bootId = info.bootId;
    if (before !== undefined && before !== info.bootId) this.#deps.rebooted(this.#vm, info.bootId);
    for (const waiter of this.#waiters) waiter.resolve({ session, info });
  }
}

export function openLink(deps: LinkDeps, options: LinkOptions): Link {
  return new AgentLink(deps, options);
}
