// The smallest image: one static program (scratch/probe.c) and nothing else. No shell, no passwd, no init.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { assetsDir } from './guest-assets.ts';
import { repoRoot } from './source-tree.ts';

/** Path of the image's tar, for `--image`: made once, so that every host of a test run has the same image. The program is `/probe`. */
export function scratchImage(): string {
  const source = join(repoRoot, 'test', 'support', 'scratch', 'probe.c');
  const hash = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 8);
  const path = join(assetsDir(), `scratch-${hash}.tar`);
  if (existsSync(path)) return path;
  mkdirSync(assetsDir(), { recursive: true });
  const dir = mkdtempSync(join(assetsDir(), '.scratch-'));
  try {
    execFileSync('musl-gcc', ['-std=c11', '-Os', '-static', '-s', '-o', join(dir, 'probe'), source]);
    execFileSync('tar', ['--owner=0', '--group=0', '--mode=0755', '-cf', join(dir, 'scratch.tar'), '-C', dir, 'probe']);
    renameSync(join(dir, 'scratch.tar'), path);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  return path;
}
