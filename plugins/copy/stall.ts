// Tells a guest that stalls from a client that is slow. A copy has one side whose turn it is; only the guest's turns count.

export interface StallOptions {
  /** How long the guest's turns may last in sum while less than `floor` moves. */
  readonly limitMs: number;
  /** Called once. `bytes`: moved since the count last began. */
  readonly onStall: (bytes: number) => void;
  /** Milliseconds from any start. @default performance.now */
  readonly now?: () => number;
}

/** Slower than this over the whole limit counts as standing still: a byte a second would keep a copy alive for ever. */
export const floorBytesPerSecond = 1024;

/**
 * Counts how long the guest keeps the other side waiting. Whenever as much has moved as the floor asks of a whole limit the count begins anew, so
 * a long copy is never ended for what it waited in sum.
 */
export class StallWatch {
  readonly #options: StallOptions;
  readonly #now: () => number;
  readonly #enough: number;
  readonly #timer: NodeJS.Timeout;
  #waitedMs = 0;
  #bytes = 0;
  #turnSince: number | undefined;
  #stopped = false;

  constructor(options: StallOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#enough = floorBytesPerSecond * options.limitMs / 1000;
    this.#timer = setInterval(() => this.check(), Math.max(10, Math.min(1000, options.limitMs / 10))).unref();
  }

  /** The guest's turn begins. */
  guest(): void {
    this.#turnSince ??= this.#now();
  }

  /** The guest has moved so many bytes, and it is the client's turn. */
  client(bytes: number): void {
    this.#endTurn();
    this.#bytes += bytes;
    if (this.#bytes >= this.#enough) this.anew();
  }

  /** Another kind of waiting begins, with the whole limit before it. */
  anew(): void {
    this.#waitedMs = 0;
    this.#bytes = 0;
    if (this.#turnSince !== undefined) this.#turnSince = this.#now();
  }

  /** Looks at the clock; a timer does it. */
  check(): void {
    if (this.#stopped) return;
    const running = this.#turnSince === undefined ? 0 : this.#now() - this.#turnSince;
    if (this.#waitedMs + running < this.#options.limitMs) return;
    const bytes = this.#bytes;
    this.stop();
    this.#options.onStall(bytes);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#stopped = true;
  }

  #endTurn(): void {
    if (this.#turnSince !== undefined) this.#waitedMs += this.#now() - this.#turnSince;
    this.#turnSince = undefined;
  }
}
