// Percent of one CPU out of a counter of CPU seconds that many may read, each when it likes.

/** Shorter spans say little where the counter moves in hundredths of a second. */
const goodSpanMs = 900;
const leastSpanMs = 200;

export class Rate {
  #samples: { readonly atMs: number; readonly seconds: number }[] = [];
  #percent: number | undefined;

  /**
   * Takes a measurement and answers the percent over at least 0.9 s before it, or over what there is. `undefined` until there are two.
   * `atMs`: of a clock that does not go back.
   */
  add(atMs: number, seconds: number): number | undefined {
    const last = this.#samples.at(-1);
    // A counter that fell is another one: the guest was rebooted.
    if (last !== undefined && (seconds < last.seconds || atMs < last.atMs)) this.reset();
    const base = this.#samples.findLast((sample) => atMs - sample.atMs >= goodSpanMs) ?? this.#samples[0];
    if (base !== undefined && atMs - base.atMs >= leastSpanMs) this.#percent = Math.max(0, (100_000 * (seconds - base.seconds)) / (atMs - base.atMs));
    if (last === undefined || atMs - last.atMs >= leastSpanMs / 2 || this.#samples.length === 0) this.#samples.push({ atMs, seconds });
    // Everything before the youngest that is old enough is of no more use.
    const keep = this.#samples.findLastIndex((sample) => atMs - sample.atMs >= goodSpanMs);
    if (keep > 0) this.#samples = this.#samples.slice(keep);
    return this.#percent;
  }

  reset(): void {
    this.#samples = [];
    this.#percent = undefined;
  }
}
