import { expect, test } from 'vitest';
import { formatDuration, parseDuration } from './duration.ts';
import { parseListenAddress, statsConfig } from './schema.ts';

test.each([['10s', 10_000], ['1.5 m', 90_000], ['2h', 7_200_000], ['1d', 86_400_000], ['250ms', 250], ['0', 0]])('%s is %i ms', (text, ms) => {
  expect(parseDuration(text)).toBe(ms);
});
test.each(['', '10', '-1s', '1e3s', '10 parsecs', 's', '1s1s', '99999999999s'])('%j is no duration', (text) => {
  expect(parseDuration(text)).toBeUndefined();
});
test.each([[3000, '3 s'], [90_000, '90 s'], [300_000, '5 min'], [7_200_000, '2 h'], [3 * 86_400_000, '3 days'], [1500, '1.5 s']])('%i ms reads as %s', (ms, text) => {
  expect(formatDuration(ms)).toBe(text);
});

test('the configuration has defaults, and bounds that it tells of', () => {
  expect(statsConfig.parse({})).toEqual({ poll_interval: 10_000, auto_stop_stale_after: 0 });
  expect(statsConfig.parse({ poll_interval: '1m', auto_stop_stale_after: '2h', metrics_listen: '[::1]:9464' }))
    .toEqual({ poll_interval: 60_000, auto_stop_stale_after: 7_200_000, metrics_listen: { host: '::1', port: 9464 } });
  const problem = (config: object): string | undefined => statsConfig.safeParse(config).error?.issues[0]?.message;
  expect(problem({ poll_interval: '0' })).toBe('must be from 1s to 1d');
  expect(problem({ poll_interval: 'often' })).toBe('must be a duration such as 10s, 5m or 2h');
  expect(problem({ auto_stop_stale_after: '10ms' })).toBe('must be 0, or from 1s to 365d');
  expect(problem({ metrics_listen: '0.0.0.0:9464' })).toBe('must be a loopback address with a port, such as 127.0.0.1:9464');
});

test.each(['localhost:9464', '127.0.0.1', '127.0.0.1:0', '127.0.0.1:70000', '10.0.0.1:9464', '[::]:9464', '::1:9464', '127.1:80', '[127.0.0.1]:80', ''])('%j is no loopback address with a port', (text) => {
  expect(parseListenAddress(text)).toBeUndefined();
});
test('every address of 127.0.0.0/8 is one', () => {
  expect(parseListenAddress('127.1.2.3:80')).toEqual({ host: '127.1.2.3', port: 80 });
});
