import { expect, test } from 'vitest';
import { createLimits } from './limits.ts';

test('counts who has not authenticated over all VMs, and the others by VM', () => {
  const limits = createLimits({ maxUnauthenticated: 2, maxConnections: 1 });
  const [a, b] = [limits.admit()!, limits.admit()!];
  expect(limits.admit()).toBeUndefined();
  expect(a.authenticated('one')).toBe(true);
  expect([limits.unauthenticated, limits.connections('one')]).toEqual([1, 1]);
  expect(b.authenticated('one')).toBe(false);
  expect(b.authenticated('two')).toBe(true);
  a.release();
  a.release();
  b.release();
  expect([limits.unauthenticated, limits.connections('one'), limits.connections('two')]).toEqual([0, 0, 0]);
});

test('a place given back before authentication is free again', () => {
  const limits = createLimits({ maxUnauthenticated: 1, maxConnections: 1 });
  const first = limits.admit()!;
  first.release();
  const second = limits.admit();
  expect(second).toBeDefined();
  expect(limits.unauthenticated).toBe(1);
  // Too late: the connection is over.
  expect(first.authenticated('one')).toBe(true);
  expect(limits.connections('one')).toBe(0);
});
