// A host and a guest of its own for every test of a file.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach } from 'vitest';
import { repoRoot } from '../../../test/support/source-tree.ts';
import { workspaceHere } from './here.ts';
import type { Here } from './here.ts';

/** Makes them before each test and hands them over, with the directory that all of it is in; that is gone after the test. */
export function eachHere(take: (here: Here, dir: string) => void): void {
  let dir: string;
  beforeAll(() => {
    execFileSync('sh', [join(repoRoot, 'scripts/build-native.sh')], { cwd: repoRoot });
  }, 120_000);
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'banger-workspace-'));
    take(workspaceHere(dir), dir);
  });
  afterEach(() => {
    rmSync(dir, { recursive: true });
  });
}
