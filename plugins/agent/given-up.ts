// Commands that were given up before the guest began or refused them, or hung up after it: an agent answers each in the end, and ends each, if it only
// goes on. A guest that is frozen is asked nothing more in the background until then, so that it has not hundreds of questions to answer at once; and one
// that ends nothing does not make us keep a stream for each.

export class GivenUp {
  readonly #allowed: number;
  readonly #ids = new Set<number>();
  /** Called when no more than the allowed are left; no promise, as one that stays for days would keep all who gave up. */
  readonly #waiting = new Set<() => void>();

  /** `allowed`: so many keep nobody waiting. */
  constructor(allowed = 0) {
    this.#allowed = allowed;
  }

  add(id: number): void {
    this.#ids.add(id);
  }

  /** The guest said what was waited for of this stream. */
  answered(id: number): void {
    if (this.#ids.delete(id) && this.#ids.size <= this.#allowed) this.#wake();
  }

  /** The session is lost: nobody answers any of it. */
  clear(): void {
    this.#ids.clear();
    this.#wake();
  }

  /** Settles once all but the allowed are answered, or the signal fires. Never rejects. */
  async none(signal: AbortSignal): Promise<void> {
    if (this.#ids.size <= this.#allowed || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const finish = (): void => {
        signal.removeEventListener('abort', finish);
        this.#waiting.delete(finish);
        resolve();
      };
      signal.addEventListener('abort', finish, { once: true });
      this.#waiting.add(finish);
    });
  }

  #wake(): void {
    for (const finish of this.#waiting) finish();
  }
}
