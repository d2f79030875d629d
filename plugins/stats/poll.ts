// The background poll: a round every interval, whether the guests of the one before have answered or not.
import { setTimeout as delay } from 'node:timers/promises';
import type { Watch } from './watch.ts';

export async function poll(watch: Watch, intervalMs: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const { tookMs } = await watch.round();
    await delay(Math.max(intervalMs / 10, intervalMs - tookMs), undefined, { signal }).catch(() => undefined); // the loop's condition ends it
  }
}
