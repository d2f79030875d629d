// Keyed mutex: first come, first served per key; a wait can be aborted or bounded, and knows who holds the lock.
import { busy, cancelled, isBangerError } from './errors.ts';

export interface LockOptions {
  /** What the holder does, for others' `busy` errors: "vm.start (op-1a2b3c)". */
  readonly holder: string;
  /** Gives up the wait. A BangerError as its reason is thrown as it is; any other reason becomes `cancelled`. */
  readonly signal?: AbortSignal | undefined;
  /** Longest wait; 0 does not wait. @default no limit */
  readonly waitMs?: number | undefined;
  /** Subject of the `busy` error: "VM devbox". @default the key */
  readonly subject?: string | undefined;
}

/** Gives the lock back; calling it again does nothing. */
export type Release = () => void;

export interface KeyedLock {
  /** @throws busy after `waitMs`, naming the holder; cancelled when the signal aborts */
  acquire(key: string, options: LockOptions): Promise<Release>;
  /** Holds the lock while `fn` runs. Not reentrant. */
  run<R>(key: string, options: LockOptions, fn: () => Promise<R> | R): Promise<R>;
  /** `undefined` when nobody holds the key. */
  holder(key: string): string | undefined;
  /** Keys held now. */
  readonly size: number;
}

interface Waiter { readonly holder: string; grant(): void }
interface Held { holder: string; readonly queue: Waiter[] }

export function createKeyedLock(): KeyedLock {
  const held = new Map<string, Held>();

  const releaseOf = (key: string, lock: Held): Release => {
    let done = false;
    return () => {
      if (done) return;
      done = true;
      const next = lock.queue.shift();
      if (!next) return void held.delete(key);
      lock.holder = next.holder;
      next.grant();
    };
  };

  const acquire = (key: string, options: LockOptions): Promise<Release> => {
    if (options.signal?.aborted) return Promise.reject(abortError(key, options.signal));
    const lock = held.get(key);
    if (!lock) {
      const fresh: Held = { holder: options.holder, queue: [] };
      held.set(key, fresh);
      return Promise.resolve(releaseOf(key, fresh));
    }
    if (options.waitMs === 0) return Promise.reject(busy(options.subject ?? key, lock.holder));
    return wait(key, lock, options, () => releaseOf(key, lock));
  };

  return {
    acquire,
    async run(key, options, fn) {
      const release = await acquire(key, options);
      try {
        return await fn();
      } finally {
        release();
      }
    },
    holder: (key) => held.get(key)?.holder,
    get size() {
      return held.size;
    },
  };
}

function wait(key: string, lock: Held, options: LockOptions, release: () => Release): Promise<Release> {
  return new Promise((resolve, reject) => {
    const { signal, waitMs } = options;
    const settle = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    const waiter: Waiter = { holder: options.holder, grant: () => { settle(); resolve(release()); } };
    const giveUp = (error: Error): void => {
      settle();
      lock.queue.splice(lock.queue.indexOf(waiter), 1);
      reject(error);
    };
    const onAbort = (): void => giveUp(abortError(key, signal));
    const timer = waitMs === undefined ? undefined
      : setTimeout(() => giveUp(busy(options.subject ?? key, lock.holder)), waitMs);
    signal?.addEventListener('abort', onAbort, { once: true });
    lock.queue.push(waiter);
  });
}

function abortError(key: string, signal: AbortSignal | undefined): Error {
  const reason: unknown = signal?.reason;
  return isBangerError(reason) ? reason : cancelled(`The wait for ${key}`);
}
