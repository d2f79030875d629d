// Time, injected where a decision depends on it, so that tests need no waiting.

export interface Clock {
  /** Wall clock, milliseconds since 1970. */
  now(): number;
  /** Milliseconds that never go back; for durations and deadlines. */
  monotonicMs(): number;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
};

/** RFC 3339 in UTC, with milliseconds. */
export const timestamp = (clock: Clock = systemClock): string => new Date(clock.now()).toISOString();

/** A clock that moves only when told. */
export function createManualClock(startMs = 0): Clock & { advance(ms: number): void } {
  let elapsedMs = 0;
  return {
    now: () => startMs + elapsedMs,
    monotonicMs: () => elapsedMs,
    advance(ms) {
      elapsedMs += ms;
    },
  };
}
