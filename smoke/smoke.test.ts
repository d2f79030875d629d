// The smoke scenarios as tests, against an installation of their own.
import { join } from 'node:path';
import { afterAll, beforeAll, test } from 'vitest';
import { makeHost, type Host } from '../test/support/host.ts';
import { repoRoot } from '../test/support/source-tree.ts';
import { cli } from './scenario.ts';
import { scenarios } from './scenarios/index.ts';

let host: Host;
beforeAll(async () => {
  host = await makeHost();
});
afterAll(async () => {
  await host.dispose();
});

test.each(scenarios.map((s) => [s.name, s] as const))('%s', async (_, scenario) => {
  await scenario.run(cli(join(repoRoot, 'bin', 'banger'), host.env));
});
