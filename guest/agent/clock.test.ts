// `agent clock set` without the right to do it: this host's clock stays. Real guests' are set in test/e2e/figures.test.ts.
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { repoRoot } from '../../test/support/source-tree.ts';

const agent = join(repoRoot, 'dist/native/agent-asan');
beforeAll(() => {
  execFileSync('sh', [join(repoRoot, 'scripts/build-native.sh'), '--asan'], { cwd: repoRoot });
}, 400_000);

function clock(...words: string[]): [number | null, string, string] {
  const nobody = process.getuid!() === 0 ? { uid: 65_534, gid: 65_534 } : {};
  const { status, stdout, stderr } = spawnSync(agent, ['clock', ...words], { encoding: 'latin1', ...nobody });
  return [status, stdout, stderr];
}

test('says why the clock cannot be set', () => {
  for (const time of ['1700000000000000000', '0', '4000000000000000000']) expect(clock('set', time)).toEqual([1, '', 'clock: Operation not permitted\n']);
});

test('takes nothing but nanoseconds since 1970', () => {
  const usage = [2, '', 'usage: agent clock set NANOSECONDS\n'];
  for (const time of ['', '-1', '+1', ' 1', '1 ', '1.5', '1e9', '0x1', 'now', '9223372036854775808', '99999999999999999999']) expect(clock('set', time)).toEqual(usage);
  for (const words of [[], ['set'], ['get'], ['set', '1', '2'], ['get', '1']]) expect(clock(...words)).toEqual(usage);
});
