// Work of one kind, few at once.

/** Runs so many at once; the others wait their turn in order. Work must not reject. */
export class Lane {
  #free: number;
  readonly #waiting: (() => void)[] = [];
  constructor(width: number) {
    this.#free = width;
  }
  async run(work: () => Promise<void>): Promise<void> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => { this.#waiting.push(resolve); });
    try {
      await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}
