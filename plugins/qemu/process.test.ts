import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { readTail } from './process.ts';

test('the end of a log goes back into the part before it, which the supervisor may have cut off in the middle of a panic', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'banger-tail-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const files = [join(dir, '1.log.1'), join(dir, '1.log')] as const;
  expect(await readTail(files, 100)).toBe('');
  writeFileSync(files[0], 'long ago\nKernel panic - not sync');
  writeFileSync(files[1], 'ing: x\nend\n');
  expect(await readTail(files, 100)).toBe('long ago\nKernel panic - not syncing: x\nend\n');
  expect(await readTail(files, 13)).toBe('ncing: x\nend\n');
  expect(await readTail(files, 4)).toBe('end\n');
  expect(await readTail([], 4)).toBe('');
});
