// A guest that says nothing is given up: the one watch over that, for those who run something and for a stream that is passed on.
import { Readable } from 'node:stream';
import type { GuestExit, GuestProcess } from '../../../core/plugin-api.ts';

export interface Silence {
  readonly limitMs: number;
  /** However much is said. @default no limit */
  readonly longestMs?: number;
  /** `limitMs`: the one that was reached. */
  readonly expired: (limitMs: number) => Error;
}
export interface SilenceWatch {
  /** Rejects with what `expired` gives; never resolves. */
  readonly failed: Promise<never>;
  /** The time begins anew. */
  heard(): void;
  /** The time stands still until something is heard: nobody asks the guest for more. */
  pause(): void;
  stop(): void;
}

export function watchSilence({ limitMs, longestMs, expired }: Silence): SilenceWatch {
  const { promise: failed, reject } = Promise.withResolvers<never>();
  failed.catch(() => undefined); // a caller that left must not bring the daemon down
  let timer: NodeJS.Timeout | undefined;
  let isOver = false;
  const longest = longestMs === undefined ? undefined : setTimeout(() => reject(expired(longestMs)), longestMs);
  const pause = (): void => clearTimeout(timer);
  const heard = (): void => {
    pause();
    if (!isOver) timer = setTimeout(() => reject(expired(limitMs)), limitMs);
  };
  const stop = (): void => {
    isOver = true;
    pause();
    clearTimeout(longest);
  };
  heard();
  return { failed, heard, pause, stop };
}

/** The same process; `exit` also rejects with what `expired` gives, after a hangup, when it was silent for so long while somebody wanted more. */
export function endWhenSilent(inner: GuestProcess, silence: Silence): GuestProcess {
  const watch = watchSilence(silence);
  watch.pause();
  async function* watched(): AsyncGenerator<Buffer> {
    const chunks = (inner.stdout as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
    try {
      for (;;) {
        // The time that the client takes is not the guest's.
        watch.heard();
        const next = await chunks.next().finally(watch.pause);
        if (next.done === true) break;
        yield next.value;
      }
      watch.heard();
    } finally {
      end('output');
    }
  }
  // Its output may be held open beyond its end.
  const ended = new Set<'output' | 'process'>();
  const end = (what: 'output' | 'process'): void => {
    if (ended.add(what).size === 2) watch.stop();
  };
  const stdout = Readable.from(watched(), { objectMode: false });
  const exit: Promise<GuestExit> = Promise.race([inner.exit.finally(() => end('process')), watch.failed]);
  exit.catch(() => undefined);
  watch.failed.catch(() => {
    inner.hangup();
    for (const stream of [inner.stdout, inner.stderr, stdout]) stream.destroy();
  });
  return {
    stdin: inner.stdin, stdout, stderr: inner.stderr, exit,
    resize: (cols, rows) => inner.resize(cols, rows), signal: (name) => inner.signal(name), hangup: () => inner.hangup(),
  };
}
