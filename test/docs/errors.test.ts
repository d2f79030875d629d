import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { errorCodes } from '../../core/errors.ts';
import { repoRoot } from '../support/source-tree.ts';

const rows = readFileSync(join(repoRoot, 'docs', 'errors.md'), 'utf8').split('\n')
  .map((line) => /^\| `([a-z_]+)` \| (.*?) \| (\d+) \| (.+) \|$/.exec(line)).filter((row) => row !== null);

test('docs/errors.md has one row per code, sorted, with the meaning and exit code of the table', () => {
  expect(rows.map((row) => [row[1], row[2], Number(row[3])])).toEqual(Object.entries(errorCodes).map(([code, info]) => [code, info.doc, info.exitCode]));
  expect(Object.keys(errorCodes)).toEqual(Object.keys(errorCodes).toSorted());
});
