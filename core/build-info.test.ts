import { expect, test } from 'vitest';
import { buildInfo, isNewerBuild } from './build-info.ts';

const at = (version: string, build: string): { version: string; build: string } => ({ version, build });

test.each([
  ['a later build of other sources', at('0.1.0', '20261122T000001Z-aaaa'), at('0.1.0', '20261122T000000Z-bbbb'), true],
  ['an earlier build', at('0.1.0', '20261122T000000Z-bbbb'), at('0.1.0', '20261122T000001Z-aaaa'), false],
  ['the same sources built again', at('0.1.0', '20261122T000001Z-aaaa'), at('0.1.0', '20261122T000000Z-aaaa'), false],
  ['a higher version built earlier', at('0.10.0', '20261122T000000Z-aaaa'), at('0.9.9', '20261122T000001Z-bbbb'), true],
  ['a lower version built later', at('0.1.0', '20261122T000001Z-aaaa'), at('0.2.0', '20261122T000000Z-bbbb'), false],
  ['unbuilt sources on both sides', at('0.1.0', 'dev'), at('0.1.0', 'dev'), false],
])('%s', (_, mine, theirs, newer) => {
  expect(isNewerBuild(mine, theirs)).toBe(newer);
});

test('always has a version and a build', () => {
  expect(buildInfo().version).toMatch(/^\d+\.\d+\.\d+/);
  expect(buildInfo().build).not.toBe('');
});
