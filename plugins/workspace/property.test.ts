// What test/e2e/workspace-property.test.ts does with real guests, with this host as the guest: many more repositories in the same time.
// BANGER_TEST_SEED=<number> runs one of them alone.
import { expect, test } from 'vitest';
import { WorkspaceCase } from '../../test/support/workspace-property.ts';
import { eachHere } from './testing/each-here.ts';
import type { Here } from './testing/here.ts';

const only = process.env['BANGER_TEST_SEED'];
const count = process.env['BANGER_TEST_LONG'] === '1' ? 500 : 10;
const seeds = only === undefined ? Array.from({ length: count }, (_, n) => n + 1) : [Number(only)];

let here: Here;
eachHere((made) => { here = made; });

test.each(seeds)('repository %i', async (seed) => {
  const one = new WorkspaceCase(here, seed);
  await expect(one.run(), `repository ${seed}: ${one.told}`).resolves.toBeUndefined();
});
