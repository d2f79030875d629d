// Ends things in the reverse order of their making, one after another, each with a limit. The container only builds; this closes.
import { timedOut } from './errors.ts';

export interface DisposeFailure { readonly label: string; readonly error: unknown }

export interface Disposer {
  /** `label` names the thing in failures: "store", "plugin qemu". After `close` began, `dispose` runs at once. */
  add(label: string, dispose: () => void | Promise<void>): void;
  /** Runs everything added, last first. A failure or a passed limit does not stop the rest. Later calls give the same result. */
  close(): Promise<readonly DisposeFailure[]>;
}

const defaultLimitMs = 5000;

export function createDisposer(options: { readonly limitMs?: number } = {}): Disposer {
  const limitMs = options.limitMs ?? defaultLimitMs;
  const stack: { readonly label: string; readonly dispose: () => void | Promise<void> }[] = [];
  const failures: DisposeFailure[] = [];
  let closing: Promise<readonly DisposeFailure[]> | undefined;

  const closeAll = async (): Promise<readonly DisposeFailure[]> => {
    // Late arrivals are pushed while this runs, and are ended next.
    for (let item = stack.pop(); item; item = stack.pop()) {
      try {
        await withLimit(item.dispose, { limitMs, what: `the end of ${item.label}` });
      } catch (error) {
        failures.push({ label: item.label, error });
      }
    }
    return failures;
  };

  return {
    add(label, dispose) {
      stack.push({ label, dispose });
      // After the end nobody would run it any more.
      if (closing) closing = closing.then(closeAll);
    },
    close: () => (closing ??= closeAll()),
  };
}

/** Runs `work`, and rejects with `timeout` when it takes too long. The work itself goes on: it has to watch a signal of its own. */
export async function withLimit<R>(work: () => R | Promise<R>, options: { readonly limitMs: number; readonly what: string }): Promise<R> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(timedOut(options.what, options.limitMs)), options.limitMs);
  });
  try {
    return await Promise.race([(async () => work())(), limit]);
  } finally {
    clearTimeout(timer);
  }
}
