// Bounds one call into plugin code: the signal tells it to end, and the wait ends even when it does not listen.

export interface Bound {
  readonly limitMs: number;
  /** Error thrown when the limit passed. */
  readonly expired: () => Error;
  /** Ends the call early; its reason is thrown. */
  readonly signal?: AbortSignal | undefined;
  /** How long a call may take to end once told to. Undoing begins after it: run and undo of a step must not overlap. @default 5000 */
  readonly graceMs?: number;
}
export type Bounded<T> =
  | { readonly kind: 'returned'; readonly value: T }
  /** `late`: what the call returned after all, within the grace time. */
  | { readonly kind: 'failed'; readonly error: unknown; readonly late?: T };

/** Calls `fn` with a signal; never rejects and never takes longer than limit and grace time together. */
export async function bound<T>(options: Bound, fn: (signal: AbortSignal) => Promise<T> | T): Promise<Bounded<T>> {
  const control = new AbortController();
  const stopped = Promise.withResolvers<Bounded<T>>();
  const stop = (error: unknown): void => {
    control.abort(error);
    stopped.resolve({ kind: 'failed', error });
  };
  const onAbort = (): void => stop(options.signal?.reason);
  const timer = setTimeout(() => stop(options.expired()), options.limitMs);
  options.signal?.addEventListener('abort', onAbort, { once: true });
  try {
    if (options.signal?.aborted) return { kind: 'failed', error: options.signal.reason };
    const work = settle(fn, control.signal);
    const first = await Promise.race([work, stopped.promise]);
    if (!control.signal.aborted || first.kind === 'returned') return first;
    return await waitForEnd(work, control.signal.reason, options.graceMs ?? 5_000);
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', onAbort);
  }
}

async function settle<T>(fn: (signal: AbortSignal) => Promise<T> | T, signal: AbortSignal): Promise<Bounded<T>> {
  try {
    return { kind: 'returned', value: await fn(signal) };
  } catch (error) {
    return { kind: 'failed', error };
  }
}

async function waitForEnd<T>(work: Promise<Bounded<T>>, error: unknown, graceMs: number): Promise<Bounded<T>> {
  const grace = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => grace.resolve(undefined), graceMs);
  try {
    const late = await Promise.race([work, grace.promise]);
    return late?.kind === 'returned' ? { kind: 'failed', error, late: late.value } : { kind: 'failed', error };
  } finally {
    clearTimeout(timer);
  }
}
