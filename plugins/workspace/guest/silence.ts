// A guest's process that is given up when nothing of its stdout comes over a limit.
import { Readable } from 'node:stream';
import type { GuestExit, GuestProcess } from '../../../core/plugin-api.ts';

export interface Silence { readonly limitMs: number; readonly expired: () => Error }

/** The same process; `exit` also rejects with `expired()`, after a hangup, when it was silent for so long while somebody wanted more. */
export function endWhenSilent(inner: GuestProcess, { limitMs, expired }: Silence): GuestProcess {
  const ended = Promise.withResolvers<GuestExit>();
  ended.promise.catch(() => undefined); // a caller that left must not bring the daemon down
  let timer: NodeJS.Timeout | undefined;
  const giveUp = (): void => {
    inner.hangup();
    ended.reject(expired());
    for (const stream of [inner.stdout, inner.stderr, stdout]) stream.destroy();
  };
  async function* watched(): AsyncGenerator<Buffer> {
    const chunks = (inner.stdout as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
    for (;;) {
      // The time that the client takes is not the guest's.
      timer = setTimeout(giveUp, limitMs);
      const next = await chunks.next().finally(() => clearTimeout(timer));
      if (next.done === true) break;
      yield next.value;
    }
    timer = setTimeout(giveUp, limitMs);
  }
  const stdout = Readable.from(watched(), { objectMode: false });
  inner.exit.then(ended.resolve, ended.reject).finally(() => clearTimeout(timer));
  return {
    stdin: inner.stdin, stdout, stderr: inner.stderr, exit: ended.promise,
    resize: (cols, rows) => inner.resize(cols, rows), signal: (name) => inner.signal(name), hangup: () => inner.hangup(),
  };
}
