import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { repoRoot } from '../support/source-tree.ts';

test('the changelog keeps its form, with Unreleased on top', () => {
  const lines = readFileSync(join(repoRoot, 'CHANGELOG.md'), 'utf8').split('\n');
  const headings = lines.filter((line) => line.startsWith('## '));
  expect(headings[0]).toBe('## [Unreleased]');
  for (const heading of headings.slice(1)) expect(heading).toMatch(/^## \[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}$/);
  for (const section of lines.filter((line) => line.startsWith('### '))) {
    expect(['### Added', '### Changed', '### Deprecated', '### Removed', '### Fixed', '### Security']).toContain(section);
  }
});
