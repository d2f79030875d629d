// Runs the fuzz harness: 3 s, or 70 s in the long mode of the tests.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const root = new URL('../../..', import.meta.url).pathname;
const run = promisify(execFile);
const seconds = process.env['BANGER_TEST_LONG'] === '1' ? 70 : 3;

it(`survives ${seconds} s of random and mutated input under the sanitizers`, { timeout: 240_000 }, async () => {
  await run('sh', [join(root, 'scripts/build-native.sh'), '--asan'], { cwd: root });
  const { stdout } = await run(join(root, 'dist/native/agent-fuzz'), [String(seconds)]);
  const [, rounds, streams, accepted, rows] = /^(\d+) rounds, (\d+) streams, (\d+) accepted, (\d+) rows, seed \d+\n$/.exec(stdout) ?? [];
  // It reached what lies behind the parser.
  expect(Number(rounds)).toBeGreaterThan(100);
  expect(Number(streams)).toBeGreaterThan(100);
  expect(Number(accepted)).toBeGreaterThan(100);
  expect(Number(rows)).toBeGreaterThan(10);
});
