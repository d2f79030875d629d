import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { watchIdle } from './idle-exit.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

test('exits after the idle time, counted from the last use', () => {
  let idle = false;
  const exit = vi.fn();
  watchIdle({ afterMs: 10_000, isIdle: () => idle, exit });
  vi.advanceTimersByTime(60_000);
  expect(exit).not.toHaveBeenCalled();
  idle = true;
  vi.advanceTimersByTime(9_000);
  expect(exit).not.toHaveBeenCalled();
  vi.advanceTimersByTime(2_000);
  expect(exit).toHaveBeenCalled();
});

test('zero means never, and stopping the watch means never again', () => {
  const exit = vi.fn();
  watchIdle({ afterMs: 0, isIdle: () => true, exit });
  watchIdle({ afterMs: 1_000, isIdle: () => true, exit })();
  vi.advanceTimersByTime(60_000);
  expect(exit).not.toHaveBeenCalled();
});
