// Random repositories go into a guest, both sides are edited at random, and the work comes back: trees are what git itself says, on both sides.
// A case that fails is told by its number: BANGER_TEST_SEED=<number> runs it alone.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, test } from 'vitest';
import { makeHost, type Host } from '../support/host.ts';
import { throughCli, WorkspaceCase } from '../support/workspace-property.ts';

const only = process.env['BANGER_TEST_SEED'];
const count = process.env['BANGER_TEST_LONG'] === '1' ? 200 : 20;
const seeds = only === undefined ? Array.from({ length: count }, (_, n) => n + 1) : [Number(only)];

let host: Host;
beforeAll(async () => {
  host = await makeHost();
  await host.ok(['vm', 'create', '--name', 'property']);
});
afterAll(async () => {
  await host.dispose();
});

test.each(seeds)('repository %i', async (seed) => {
  const one = new WorkspaceCase(throughCli(host, 'property'), seed);
  try {
    await one.run();
  } catch (error) {
    console.error(`repository ${seed}: ${one.told}\n${host.log().slice(-3000)}`);
    throw error;
  } finally {
    // In the guest they stay: they are small.
    rmSync(join(host.dir, `repo${seed}`), { recursive: true });
  }
});
