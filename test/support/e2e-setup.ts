// Runs once before the tests with real guests: their kernel and image are there when the first one boots.
import { ensureGuestAssets } from './guest-assets.ts';

export default async function setup(): Promise<void> {
  await ensureGuestAssets((line) => process.stderr.write(`test assets: ${line}\n`));
}
