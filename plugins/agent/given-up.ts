// Commands that were given up before the guest began or refused them: an agent answers each in the end, if it only goes on. A guest that is frozen
// is asked nothing more in the background until then, so that it has not hundreds of questions to answer at once.

export class GivenUp {
  readonly #ids = new Set<number>();
  /** Called when nothing is left; no promise, as one that stays for days would keep all who gave up. */
  readonly #waiting = new Set<() => void>();

  add(id: number): void {
    this.#ids.add(id);
  }

  /** The guest said something of this stream. */
  answered(id: number): void {
    if (this.#ids.delete(id) && this.#ids.size === 0) this.#wake();
  }

  /** The session is lost: nobody answers any of it. */
  clear(): void {
    this.#ids.clear();
    this.#wake();
  }

  /** Settles once all are answered, or the signal fires. Never rejects. */
  async none(signal: AbortSignal): Promise<void> {
    if (this.#ids.size === 0 || signal.aborted) return;
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
