// One VM's automatic forwards: follows what its guest listens on.
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import { isBangerError } from '../../core/plugin-api.ts';
import type { Logger, Vm } from '../../core/plugin-api.ts';
import type { GuestListeners, ListenerSnapshot } from '../stats/capability.ts';
import type { PortForward, PortForwards, UnforwardedPort } from '../usernet/capability.ts';
import { guestRetry, keepDoing } from './retry.ts';
import type { RetryLimits } from './retry.ts';
import { wantedForwards } from './wanted.ts';
import type { WantedForward } from './wanted.ts';

export interface AutoForwardsDeps {
  readonly listeners: Pick<GuestListeners, 'watch'>;
  readonly forwards: PortForwards;
  readonly log: Logger;
  /** The VM's own. */
  address(vm: Vm): string;
  readonly retry?: RetryLimits;
  /** How long a port that could not be had is left alone. @default 10000 */
  readonly refusedMs?: number;
}

/** Automatic forwards of a VM at one time. */
export const maxAuto = 256;
/** Between two looks at what the guest says: one that opens and closes without end must not occupy the daemon. */
const rest = { leastMs: 100, mostMs: 5000, share: 10 } as const;
const defaultRefusedMs = 10_000;

export class AutoForwards {
  readonly #deps: AutoForwardsDeps;
  readonly #vm: Vm;
  readonly #gone = new AbortController();
  readonly #refused = new Map<number, { readonly why: string; readonly atMs: number }>();
  #last: ListenerSnapshot | undefined;
  #isDirty = false;
  #working: Promise<void> | undefined;
  #over = 0;
  #problem: string | undefined;
  #retry: NodeJS.Timeout | undefined;

  constructor(deps: AutoForwardsDeps, vm: Vm) {
    this.#deps = deps;
    this.#vm = vm;
    void keepDoing((signal) => this.#watch(signal), {
      signal: this.#gone.signal, limits: deps.retry ?? guestRetry, onError: (error) => this.#onError(error),
      isFinal: (error) => isBangerError(error) && error.code === 'unsupported',
    });
  }

  /** Sentences about what is not as one might expect. */
  notices(): string[] {
    const over = this.#over === 0 ? [] : [`${this.#over} ports of the guest are not forwarded: ${maxAuto} automatic forwards are all a VM gets`];
    return this.#problem === undefined ? over : [...over, this.#problem];
  }

  /** Looks again at what was last heard, because other forwards have changed. */
  again(): void {
    this.#refused.clear();
    this.#wake();
  }

  /** The forwards end; connections live on. */
  async stop(): Promise<void> {
    this.#gone.abort();
    clearTimeout(this.#retry);
    await this.#working;
    const { forwards } = this.#deps;
    for (const forward of forwards.list(this.#vm)) if (forward.source === 'auto') forwards.close(this.#vm, forward);
    forwards.setUnforwarded(this.#vm, []);
  }

  async #watch(signal: AbortSignal): Promise<void> {
    await this.#deps.listeners.watch(this.#vm, (snapshot) => {
      this.#problem = undefined;
      this.#last = snapshot;
      this.#wake();
    }, signal);
  }

  #onError(error: unknown): void {
    this.#deps.log.debug({ vm: this.#vm.name, err: error }, 'the guest does not tell what listens');
    // Forwards stay meanwhile: a paused or rebooting guest has them again soon, and what leads nowhere is refused by the guest.
    this.#problem = `the guest does not tell what listens: ${error instanceof Error ? error.message : 'internal error'}`;
  }

  #wake(): void {
    this.#isDirty = true;
    this.#working ??= this.#work().finally(() => { this.#working = undefined; });
  }

  async #work(): Promise<void> {
    const { signal } = this.#gone;
    while (this.#isDirty && !signal.aborted) {
      this.#isDirty = false;
      const began = performance.now();
      if (this.#last !== undefined) await this.#apply(this.#last, signal);
      await delay(restMs(performance.now() - began), undefined, { signal }).catch(() => undefined); // the end
    }
  }

  async #apply(snapshot: ListenerSnapshot, signal: AbortSignal): Promise<void> {
    const { forwards } = this.#deps;
    const vm = this.#vm;
    const { forwards: all, unforwarded: unreachable } = wantedForwards(snapshot.listeners);
    const { kept, over } = this.#choose(all);
    const ports = new Set(kept.map(({ guestPort }) => guestPort));
    const there = new Map<number, PortForward>();
    for (const forward of forwards.list(vm).filter(({ source }) => source === 'auto')) {
      if (ports.has(forward.guestPort)) there.set(forward.guestPort, forward);
      else forwards.close(vm, forward);
    }
    const refused: UnforwardedPort[] = [];
    for (const wanted of kept) {
      if (signal.aborted) return;
      const why = await this.#open(wanted, there.get(wanted.guestPort));
      if (why !== undefined) refused.push({ protocol: 'tcp', guestPort: wanted.guestPort, why });
    }
    if (refused.length > 0 && !signal.aborted) {
      clearTimeout(this.#retry);
      this.#retry = setTimeout(() => this.#wake(), this.#refusedMs).unref();
    }
    this.#tellOver(over.length + snapshot.more);
    forwards.setUnforwarded(vm, [
      ...unreachable, ...refused, ...over.map(({ guestPort }): UnforwardedPort => ({ protocol: 'tcp', guestPort, why: `${maxAuto} automatic forwards are all a VM gets` })),
    ]);
  }

  /** Those not offered at their own number otherwise; of too many, first those that are forwarded already. */
  #choose(all: readonly WantedForward[]): { readonly kept: readonly WantedForward[]; readonly over: readonly WantedForward[] } {
    const mine = this.#deps.address(this.#vm);
    const current = this.#deps.forwards.list(this.#vm).filter((forward) => forward.protocol === 'tcp');
    const offered = new Set(current.filter((forward) => isOffer(forward, mine)).map((forward) => forward.guestPort));
    const autos = new Set(current.filter((forward) => forward.source === 'auto').map((forward) => forward.guestPort));
    const left = all.filter(({ guestPort }) => !offered.has(guestPort));
    const ordered = left.length <= maxAuto ? left : [...left.filter(({ guestPort }) => autos.has(guestPort)), ...left.filter(({ guestPort }) => !autos.has(guestPort))];
    return { kept: ordered.slice(0, maxAuto), over: ordered.slice(maxAuto) };
  }

  /** Why it could not be had; asked for again only after a while, as finding out who has a port is work. */
  async #open({ guestPort, guestHost }: WantedForward, there: PortForward | undefined): Promise<string | undefined> {
    if (there?.guestHost === guestHost) return undefined;
    const before = this.#refused.get(guestPort);
    const now = performance.now();
    if (before !== undefined && now - before.atMs < this.#refusedMs) return before.why;
    this.#refused.delete(guestPort);
    try {
      await this.#deps.forwards.open(this.#vm, { protocol: 'tcp', guestPort, guestHost, hostPort: there?.hostPort, source: 'auto' });
      return undefined;
    } catch (error) {
      const why = error instanceof Error ? error.message : 'internal error';
      this.#refused.set(guestPort, { why, atMs: now });
      this.#deps.log.info({ vm: this.#vm.name, guestPort, err: error }, 'a port of the guest is not forwarded');
      // Finding out who has it took a while in which nothing else was done, and a guest may want all that this host has.
      await nextTurn();
      return why;
    }
  }

  get #refusedMs(): number {
    return this.#deps.refusedMs ?? defaultRefusedMs;
  }

  #tellOver(over: number): void {
    if (over > 0 && this.#over === 0) this.#deps.log.warn({ vm: this.#vm.name, over }, 'the guest listens on more ports than are forwarded');
    this.#over = over;
  }
}

/** After work of so long: the daemon has other guests to work for. */
export const restMs = (tookMs: number): number => Math.min(rest.mostMs, Math.max(rest.leastMs, tookMs * rest.share));

function isOffer({ source, address, hostPort, guestPort }: PortForward, mine: string): boolean {
  return source !== 'auto' && hostPort === guestPort && (address === mine || address === '0.0.0.0');
}
