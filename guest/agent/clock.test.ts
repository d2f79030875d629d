// `agent clock` without the right to set it: this host's clock stays. Real guests' are set in test/e2e/guest-figures.test.ts.
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { repoRoot } from '../../test/support/source-tree.ts';

const agent = join(repoRoot, 'dist/native/agent-asan');
beforeAll(() => {
  execFileSync('sh', [join(repoRoot, 'scripts/build-native.sh'), '--asan'], { cwd: repoRoot });
}, 400_000);

function clock(...words: string[]): [number | null, string, string] {
  return say('', ...words);
}
function say(input: string, ...words: string[]): [number | null, string, string] {
  const nobody = process.getuid!() === 0 ? { uid: 65_534, gid: 65_534 } : {};
  const { status, stdout, stderr } = spawnSync(agent, ['clock', ...words], { input, encoding: 'latin1', ...nobody });
  return [status, stdout, stderr];
}

test('says why the clock cannot be set', () => {
  for (const time of ['1700000000000000000', '0', '4000000000000000000']) expect(clock('set', time)).toEqual([1, '', 'clock: Operation not permitted\n']);
});

test('takes nothing but nanoseconds since 1970', () => {
  const usage = [2, '', 'usage: agent clock | agent clock set NANOSECONDS\n'];
  for (const time of ['', '-1', '+1', ' 1', '1 ', '1.5', '1e9', '0x1', 'now', '9223372036854775808', '99999999999999999999']) expect(clock('set', time)).toEqual(usage);
  for (const words of [['set'], ['get'], ['set', '1', '2'], ['get', '1']]) expect(clock(...words)).toEqual(usage);
});

test('tells the time as often as it is asked', () => {
  const before = BigInt(Date.now()) * 1_000_000n;
  const [status, out, err] = say('get\nget\n');
  const times = out.trim().split('\n').map(BigInt);
  expect([status, times.length, err]).toEqual([0, 2, '']);
  expect(times[0]).toBeGreaterThanOrEqual(before);
  expect(times[1]).toBeGreaterThanOrEqual(times[0]!);
  expect(times[1]).toBeLessThanOrEqual(BigInt(Date.now() + 1) * 1_000_000n);
});

test('says why a step cannot be made, and goes on', () => {
  const steps = ['1', '-1000000000', 'x', '', '--1', '9223372036854775807', '-9000000000000000000', '99999999999999999999'];
  expect(say(steps.map((by) => `step ${by}\n`).join(''))).toEqual([0, 'error 1\nerror 1\nerror 22\nerror 22\nerror 22\nerror 22\nerror 22\nerror 22\n', '']);
});

test.each(['gets', 'set 1', 'step', '', 'get ', 'get', 'x'.repeat(1_000), 'get\0'])('ends at %j', (line) => {
  // Only a whole line is one.
  expect(say(line === 'get' ? line : `${line}\n`)).toEqual([2, '', expect.stringContaining('usage')]);
});
