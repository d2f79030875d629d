// Once per run of the end-to-end tests: the kernel and the image that all of them share.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ensureGuestAssets } from './guest-assets.ts';
import { repoRoot } from './source-tree.ts';

export default async function setup(): Promise<void> {
  if (!existsSync(join(repoRoot, 'dist', 'bin', 'bangerd.js'))) throw new Error('nothing is built: run npm run build first');
  await ensureGuestAssets((line) => process.stderr.write(`e2e: ${line}\n`));
}
