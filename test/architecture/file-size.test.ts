import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { repoRoot, sourceFiles } from '../support/source-tree.ts';

test('no source file is over 400 lines', () => {
  const long = sourceFiles(['.ts', '.c', '.h', '.sh']).filter((file) => file.lines > 400).map((file) => `${file.path} (${file.lines})`);
  expect(long).toEqual([]);
});

test('wiring stays thin: plugin.ts under 120 lines', () => {
  const thick = sourceFiles().filter((f) => /^plugins\/[^/]+\/plugin\.ts$/.test(f.path) && f.lines > 120).map((f) => f.path);
  expect(thick).toEqual([]);
});

test('file names are kebab-case', () => {
  const odd = sourceFiles(['.ts', '.c', '.h', '.sh']).map((f) => f.path).filter((path) => !/^[a-z0-9-/]+(\.test|\.test-d|\.d)?\.(ts|c|h|sh)$/.test(path));
  expect(odd).toEqual([]);
});

test('every plugin has its standard files', () => {
  const missing = readdirSync(join(repoRoot, 'plugins'), { withFileTypes: true }).filter((e) => e.isDirectory()).flatMap((e) => {
    const have = new Set(readdirSync(join(repoRoot, 'plugins', e.name)));
    return ['plugin.ts', 'README.md'].filter((file) => !have.has(file)).map((file) => `plugins/${e.name}/${file}`);
  });
  expect(missing).toEqual([]);
});
