// `npm run smoke [-- --list | --only name,name]`: every scenario against the built CLI with your own installation.
import { resolve, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cli, type Scenario } from './scenario.ts';
import { scenarios } from './scenarios/index.ts';

const program = join(resolve(dirname(fileURLToPath(import.meta.url)), '..'), 'bin', 'banger');
const args = process.argv.slice(2);
const only = args[args.indexOf('--only') + 1]?.split(',');
const wanted = args.includes('--only') ? scenarios.filter((s) => only?.includes(s.name)) : scenarios;

if (args.includes('--list')) {
  for (const s of scenarios) console.log(`${s.name.padEnd(18)} ${s.kind.padEnd(7)} ${s.summary}`);
} else {
  let failed = 0;
  for (const scenario of wanted) failed += await attempt(scenario) ? 0 : 1;
  console.log(`${wanted.length - failed} passed, ${failed} failed`);
  process.exitCode = failed === 0 && wanted.length > 0 ? 0 : 1;
}

async function attempt(scenario: Scenario): Promise<boolean> {
  const began = Date.now();
  try {
    await scenario.run(cli(program, process.env));
    console.log(`ok   ${scenario.name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
    return true;
  } catch (error) {
    console.log(`FAIL ${scenario.name}: ${error instanceof Error ? error.message : String(error)}`);
    return false;
  }
}
