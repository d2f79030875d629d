import { expect, test, vi } from 'vitest';
import { createLog } from '../log.ts';
import { createSupervisor } from './supervisor.ts';

function make() {
  const pauses: number[] = [];
  const log = createLog({ to: (line) => void pauses.push((JSON.parse(line) as { pauseMs: number }).pauseMs) });
  return { pauses, supervisor: createSupervisor({ log, firstPauseMs: 1, longestPauseMs: 4 }) };
}
const failingTimes = (times: number, run: (signal: AbortSignal) => Promise<void>) => {
  let left = times;
  return (signal: AbortSignal): Promise<void> => {
    left -= 1;
    return left >= 0 ? Promise.reject(new Error(`failure ${left}`)) : run(signal);
  };
};
const untilAborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve()));

test('restarts a failing loop with growing pauses and shows it', async () => {
  const { supervisor, pauses } = make();
  supervisor.start({ plugin: 'p', name: 'watch', run: failingTimes(4, untilAborted) });
  await vi.waitFor(() => expect(supervisor.statuses()).toEqual([{ plugin: 'p', name: 'watch', state: 'running', failures: 4, lastError: 'failure 0' }]));
  expect(pauses).toEqual([1, 2, 4, 4]);
  await supervisor.close();
});

test('takes a loop that throws before it begins, and leaves one alone that is done', async () => {
  const { supervisor } = make();
  supervisor.start({ plugin: 'p', name: 'sync', run: () => { throw new Error('at once'); } });
  supervisor.start({ plugin: 'p', name: 'once', run: () => Promise.resolve() });
  await vi.waitFor(() => expect(supervisor.statuses()).toMatchObject([{ lastError: 'at once' }, { state: 'done', failures: 0 }]));
  await supervisor.close();
});

test('ends loops that run and loops that wait', async () => {
  const supervisor = createSupervisor({ log: createLog({ to: () => {} }), firstPauseMs: 600_000, longestPauseMs: 600_000 });
  let ended = false;
  supervisor.start({ plugin: 'p', name: 'runs', run: async (signal) => { await untilAborted(signal); ended = true; } });
  supervisor.start({ plugin: 'p', name: 'waits', run: () => Promise.reject(new Error('no')) });
  await vi.waitFor(() => expect(supervisor.statuses()[1]?.state).toBe('waiting'));
  await supervisor.close();
  expect(ended).toBe(true);
});
