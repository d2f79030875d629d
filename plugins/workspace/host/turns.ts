// Long loops in the daemon: others get their turn in between.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { cancelled, isBangerError } from '../../../core/plugin-api.ts';

const sliceMs = 15;
/** Items between two looks at the clock. */
const batch = 128;

/** Runs `each` for all items, never longer than a few milliseconds at a time. @throws cancelled, or the error that `signal` was aborted with */
export async function inTurns<T>(items: Iterable<T>, each: (item: T) => void, signal?: AbortSignal): Promise<void> {
  let until = performance.now() + sliceMs;
  let count = 0;
  for (const item of items) {
    each(item);
    count += 1;
    if (count % batch !== 0 || performance.now() < until) continue;
    await nextTurn();
    if (signal?.aborted) throw isBangerError(signal.reason) ? signal.reason : cancelled('Work on the workspace');
    until = performance.now() + sliceMs;
  }
}
