import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createExec } from '../../../core/exec.ts';
import { openRepository } from '../host/repository.ts';
import { findLeftBehind } from './left-behind.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'banger-left-'));
});
afterEach(() => rmSync(dir, { recursive: true }));
const git = (...args: string[]): string => execFileSync('git', ['-C', dir, '-c', 'user.name=a', '-c', 'user.email=a@localhost', ...args], { encoding: 'utf8' }).trim();

test('names submodules at other commits, new repositories, and what the script told', async () => {
  git('init', '-q');
  writeFileSync(join(dir, 'file'), 'x');
  const link = (id: string, path: string): string => git('update-index', '--add', '--cacheinfo', `160000,${id.repeat(40)},${path}`);
  git('add', 'file');
  link('1', 'same');
  link('1', 'moved');
  link('1', 'gone');
  const base = git('commit-tree', '-m', 'base', git('write-tree'));
  link('2', 'moved');
  link('2', 'new\nname');
  git('update-index', '--force-remove', 'gone');
  git('update-index', '--add', '--cacheinfo', `100644,${git('hash-object', '-w', 'file')},:000000 160000 file`);
  const worktree = git('commit-tree', '-m', 'work', git('write-tree'));
  const said = ['banger-submodule deps/inner', "error: 'fresh/' does not have a commit checked out", 'warning: nothing'];
  const repo = await openRepository(createExec(), dir);
  const call = { refs: { base, worktree }, signal: new AbortController().signal };
  expect(await findLeftBehind(createExec(), repo, { ...call, said })).toEqual(['deps/inner', 'fresh', 'moved', 'new\\x0aname']);
  expect(await findLeftBehind(createExec(), repo, { ...call, said: [], refs: { base, worktree: base } })).toEqual([]);
});
