import { expect, test } from 'vitest';
import { createManualClock, timestamp } from './clock.ts';
import { createDisposer, withLimit } from './dispose.ts';

test('ends the last made first, one after another, past failures', async () => {
  const order: string[] = [];
  const disposer = createDisposer();
  disposer.add('a', () => void order.push('a'));
  disposer.add('b', () => { throw new Error('b does not end'); });
  disposer.add('c', async () => {
    order.push('c begins');
    await new Promise(setImmediate);
    order.push('c ended');
  });
  const failures = await disposer.close();
  expect(order).toEqual(['c begins', 'c ended', 'a']);
  expect(failures).toMatchObject([{ label: 'b', error: { message: 'b does not end' } }]);
  expect(await disposer.close()).toBe(failures);
});

test('goes on after one that hangs, and names it', async () => {
  let ended = false;
  const disposer = createDisposer({ limitMs: 20 });
  disposer.add('a', () => { ended = true; });
  disposer.add('plugin slow', () => new Promise(() => {}));
  expect(await disposer.close()).toMatchObject([{ label: 'plugin slow', error: { code: 'timeout', message: expect.stringContaining('plugin slow') as string } }]);
  expect(ended).toBe(true);
});

test('ends what arrives late', async () => {
  const order: string[] = [];
  const disposer = createDisposer();
  disposer.add('a', () => disposer.add('late', () => void order.push('late')));
  await disposer.close();
  disposer.add('later', () => void order.push('later'));
  await disposer.close();
  expect(order).toEqual(['late', 'later']);
});

test('gives the result of work within its limit, and its failure', async () => {
  expect(await withLimit(() => 7, { limitMs: 10_000, what: 'seven' })).toBe(7);
  await expect(withLimit(() => { throw new Error('no'); }, { limitMs: 10_000, what: 'x' })).rejects.toThrow('no');
});

test('moves a manual clock only by hand', () => {
  const clock = createManualClock(1000);
  clock.advance(500);
  expect([clock.now(), clock.monotonicMs(), timestamp(clock)]).toEqual([1500, 500, '1970-01-01T00:00:01.500Z']);
});
