// Work with a guest that goes on over its reboots and reconnects.
import { setTimeout as delay } from 'node:timers/promises';

export interface RetryLimits {
  readonly firstMs: number;
  readonly lastMs: number;
  /** Work that went on for this long counts as well begun: the next wait is the first one again. */
  readonly goodMs: number;
}
export const guestRetry: RetryLimits = { firstMs: 200, lastMs: 10_000, goodMs: 5000 };

/** Does the work again whenever it ends, well or not, after a wait that grows; until the signal, or `isFinal` says so of an error. */
export async function keepDoing(work: (signal: AbortSignal) => Promise<void>, options: {
  readonly signal: AbortSignal; readonly limits?: RetryLimits; readonly onError: (error: unknown) => void; readonly isFinal?: (error: unknown) => boolean;
}): Promise<void> {
  const { signal, limits = guestRetry } = options;
  let waitMs = limits.firstMs;
  while (!signal.aborted) {
    const began = performance.now();
    try {
      await work(signal);
    } catch (error) {
      if (signal.aborted) return;
      options.onError(error);
      if (options.isFinal?.(error) === true) return;
    }
    if (performance.now() - began >= limits.goodMs) waitMs = limits.firstMs;
    await delay(waitMs, undefined, { signal }).catch(() => undefined); // the end
    waitMs = Math.min(limits.lastMs, waitMs * 2);
  }
}
