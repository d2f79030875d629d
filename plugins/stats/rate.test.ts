import { expect, test } from 'vitest';
import { Rate } from './rate.ts';

test('nothing is said of one measurement, and a percent of one CPU of two', () => {
  const rate = new Rate();
  expect(rate.add(1000, 5)).toBeUndefined();
  expect(rate.add(2000, 5.5)).toBeCloseTo(50);
  expect(rate.add(3000, 7.5)).toBeCloseTo(200);
});

test('questions in quick succession get the percent over most of a second', () => {
  const rate = new Rate();
  rate.add(0, 0);
  // The counter stands still for a second, then one CPU is busy.
  for (let at = 10; at <= 1000; at += 10) rate.add(at, 0);
  for (let at = 1010; at < 1500; at += 10) rate.add(at, (at - 1000) / 1000);
  const half = rate.add(1500, 0.5)!;
  expect(half).toBeGreaterThan(45);
  expect(half).toBeLessThan(56);
});

test('too little time keeps the last percent', () => {
  const rate = new Rate();
  rate.add(0, 0);
  expect(rate.add(50, 0.05)).toBeUndefined();
  expect(rate.add(1000, 0.5)).toBeCloseTo(50);
});

test('a counter that begins anew does not give a negative percent', () => {
  const rate = new Rate();
  rate.add(0, 100);
  rate.add(1000, 101);
  expect(rate.add(2000, 0.5)).toBeUndefined();
  expect(rate.add(3000, 0.75)).toBeCloseTo(25);
});
