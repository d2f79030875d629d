import { expect, test } from 'vitest';
import { timedOut } from './errors.ts';
import { createKeyedLock } from './lock.ts';

test('serves one key first come, first served', async () => {
  const lock = createKeyedLock();
  const order: number[] = [];
  await Promise.all([1, 2, 3, 4].map((n) => lock.run('a', { holder: `h${n}` }, async () => {
    order.push(n);
    await Promise.resolve();
    order.push(n);
  })));
  expect(order).toEqual([1, 1, 2, 2, 3, 3, 4, 4]);
  expect(lock.size).toBe(0);
});

test('does not let keys wait for each other', async () => {
  const lock = createKeyedLock();
  const release = await lock.acquire('a', { holder: 'x' });
  expect(await lock.run('b', { holder: 'y' }, () => 'ran')).toBe('ran');
  release();
});

test('names the holder of a busy key', async () => {
  const lock = createKeyedLock();
  const release = await lock.acquire('a', { holder: 'vm.start (op-1)' });
  expect(lock.holder('a')).toBe('vm.start (op-1)');
  await expect(lock.acquire('a', { holder: 'x', waitMs: 0, subject: 'VM devbox' }))
    .rejects.toMatchObject({ code: 'busy', message: 'VM devbox is busy: vm.start (op-1)' });
  await expect(lock.acquire('a', { holder: 'x', waitMs: 5 })).rejects.toMatchObject({ code: 'busy' });
  release();
  release();
  expect(lock.holder('a')).toBeUndefined();
});

test('passes over a waiter that gave up', async () => {
  const lock = createKeyedLock();
  const control = new AbortController();
  const release = await lock.acquire('a', { holder: '1' });
  const second = lock.acquire('a', { holder: '2', signal: control.signal });
  const third = lock.acquire('a', { holder: '3' });
  control.abort();
  await expect(second).rejects.toMatchObject({ code: 'cancelled' });
  release();
  const releaseThird = await third;
  expect(lock.holder('a')).toBe('3');
  releaseThird();
  expect(lock.size).toBe(0);
});

test('throws the reason of the signal when it is one of our errors', async () => {
  const lock = createKeyedLock();
  await expect(lock.acquire('a', { holder: '1', signal: AbortSignal.abort(timedOut('x', 1000)) })).rejects.toMatchObject({ code: 'timeout' });
});

test('gives the lock back when the work fails', async () => {
  const lock = createKeyedLock();
  await expect(lock.run('a', { holder: '1' }, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(lock.size).toBe(0);
});
