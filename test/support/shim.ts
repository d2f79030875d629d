// The supervisor for tests: the built one when it is newer than its sources, else one compiled into a temporary directory.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

const root = join(import.meta.dirname, '..', '..');
const sourceDir = join(root, 'native', 'shim');

/** Called while a test file is collected. Directory that holds `shim`, as `HostInfo.nativeDir`; a text is the reason why there is none. */
export function findShim(): { readonly nativeDir: string } | { readonly reason: string } {
  const built = join(root, 'dist', 'native');
  const sources = readdirSync(sourceDir).filter((name) => /\.[ch]$/.test(name)).map((name) => join(sourceDir, name));
  const newest = Math.max(...sources.map((path) => statSync(path).mtimeMs));
  if (existsSync(join(built, 'shim')) && statSync(join(built, 'shim')).mtimeMs >= newest) return { nativeDir: built };
  const compiler = ['/usr/bin/musl-gcc', '/usr/bin/gcc'].find((path) => existsSync(path));
  if (compiler === undefined) return { reason: 'no C compiler and no dist/native/shim' };
  const nativeDir = mkdtempSync(join(tmpdir(), 'banger-shim-'));
  afterAll(() => rmSync(nativeDir, { recursive: true, force: true }));
  const files = sources.filter((path) => path.endsWith('.c'));
  execFileSync(compiler, ['-std=c11', '-static', '-O1', '-Wall', '-Wextra', '-Werror', '-o', join(nativeDir, 'shim'), ...files]);
  return { nativeDir };
}
