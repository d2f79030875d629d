// What test/e2e/workspace-property.test.ts does with real guests, with this host as the guest: many more repositories in the same time.
// BANGER_TEST_SEED=<number> runs one of them alone.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { repoRoot } from '../../test/support/source-tree.ts';
import { WorkspaceCase } from '../../test/support/workspace-property.ts';
import { workspaceHere } from './testing/here.ts';

const only = process.env['BANGER_TEST_SEED'];
const count = process.env['BANGER_TEST_LONG'] === '1' ? 500 : 10;
const seeds = only === undefined ? Array.from({ length: count }, (_, n) => n + 1) : [Number(only)];

let dir: string;
beforeAll(() => {
  execFileSync('sh', [join(repoRoot, 'scripts/build-native.sh')], { cwd: repoRoot });
}, 120_000);
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'banger-workspace-'));
});
afterEach(() => {
  rmSync(dir, { recursive: true });
});

test.each(seeds)('repository %i', async (seed) => {
  const one = new WorkspaceCase(workspaceHere(dir), seed);
  await expect(one.run(), `repository ${seed}: ${one.told}`).resolves.toBeUndefined();
});
