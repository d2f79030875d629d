import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { floorBytesPerSecond, StallWatch } from './stall.ts';

const limitMs = 60_000;
let at = 0;
let stalls: number[] = [];
let watch: StallWatch;

beforeEach(() => {
  at = 0;
  stalls = [];
  watch = new StallWatch({ limitMs, onStall: (bytes) => { stalls.push(bytes); }, now: () => at });
});
afterEach(() => watch.stop());

/** The guest takes so long for so many bytes. */
function turn(ms: number, bytes: number): void {
  watch.guest();
  at += ms;
  watch.check();
  watch.client(bytes);
}

describe('the watch over a copy', () => {
  it('ends one whose guest moves nothing', () => {
    watch.guest();
    at = limitMs - 1;
    watch.check();
    expect(stalls).toEqual([]);
    at = limitMs;
    watch.check();
    watch.check();
    expect(stalls).toEqual([0]);
  });

  it('ends one whose guest moves a byte a second', () => {
    for (let second = 0; second < 60 && stalls.length === 0; second += 1) turn(1000, 1);
    expect(stalls).toEqual([59]);
  });

  it('lets one go on that stays above the floor, for ever', () => {
    for (let second = 0; second < 10_000; second += 1) turn(1000, 1.1 * floorBytesPerSecond);
    expect(stalls).toEqual([]);
  });

  it('does not count what the client takes its time for', () => {
    for (let round = 0; round < 100; round += 1) {
      turn(500, 1);
      at += 10 * limitMs;
      watch.check();
    }
    expect(stalls).toEqual([]);
  });

  it('gives each kind of waiting the whole limit', () => {
    turn(limitMs - 1, 0);
    watch.anew();
    watch.guest();
    at += limitMs - 1;
    watch.check();
    expect(stalls).toEqual([]);
    at += 1;
    watch.check();
    expect(stalls).toEqual([0]);
  });

  it('is quiet once stopped', () => {
    watch.guest();
    watch.stop();
    at = 2 * limitMs;
    watch.check();
    expect(stalls).toEqual([]);
  });
});
