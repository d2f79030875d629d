// The lines that tell of workspaces.
import { expect, test } from 'vitest';
import type { WorkspaceStatus } from '../../core/api.ts';
import { withHint } from '../errors.ts';
import { BangerError } from '../../core/errors.ts';
import { appliedText } from './kept.ts';
import { noticeLines, plural, preparedLine, shellWord } from './prepare.ts';
import { pulledLine } from './pull.ts';
import { movedLine, statusTable } from './status.ts';

const workspace: WorkspaceStatus = { guestPath: '/root/app', hostPath: '/home/a/app', mode: 'shallow', preparedAt: '2026-01-01T00:00:00Z', moved: false };
const pulled = (commits: number, changedFiles: number, hostPath = '/home/a/app') => ({
  vm: { id: 'x', name: 'box' }, result: { operation: 'op-1', hostPath, refs: { base: 'b', worktree: 'w' }, commits, changedFiles, leftBehind: [], notices: [] },
});

test('a prepare in one line', () => {
  const result = { workspace, files: 1, sentFiles: 0, sentBytes: 0, removedFiles: 0, notices: [] };
  expect(preparedLine({ result, elapsedMs: 340 })).toBe('/root/app: 1 file, 0 sent (0 B), in 340 ms');
  expect(preparedLine({ result: { ...result, files: 20_000, sentFiles: 7, sentBytes: 3 * 1024 * 1024, removedFiles: 2 }, elapsedMs: 1234 })).toBe('/root/app: 20000 files, 7 sent (3 MiB), 2 removed, in 1.2 s');
});

test.each([
  [1, 0, '/home/a/app', '1 commit came back from box: banger vm workspace diff box'],
  [0, 1, '/home/a/app/deep/in', '1 changed file came back from box: banger vm workspace diff box'],
  [2, 3, '/home/a', '2 commits and 3 changed files came back from box: banger vm workspace diff box --repo /home/a/app'],
  [2, 3, '/home/a/app2', '2 commits and 3 changed files came back from box: banger vm workspace diff box --repo /home/a/app'],
  [0, 0, '/', 'nothing in the workspace of box differs from what went in'],
])('a pull of %i commits and %i files, seen from %s', (commits, files, cwd, line) => {
  expect(pulledLine(pulled(commits, files), cwd)).toBe(line);
});

test('a line to copy has words that a shell gives back', () => {
  expect(pulledLine(pulled(1, 1, "/home/a/it's mine"), '/')).toMatch(/ --repo '\/home\/a\/it'\\''s mine'$/);
  expect([shellWord('/a-b_c.d'), shellWord(''), shellWord('a;b'), shellWord('a\u001bb')]).toEqual(['/a-b_c.d', "''", "'a;b'", "'a?b'"]);
});

test('a host that moved on is told where the host is known', () => {
  const [head, hostHead] = ['1'.repeat(40), '2'.repeat(40)];
  expect(movedLine('box', workspace)).toBeUndefined();
  expect(movedLine('box', { ...workspace, head, moved: true })).toBeUndefined();
  expect(movedLine('box', { ...workspace, head, hostHead, moved: true })).toBe('HEAD of the repository is at 222222222222, the workspace of box at 111111111111; --auto-prepare brings it');
  expect(movedLine('box', { ...workspace, hostHead, moved: true })).toContain('the workspace of box at no commit');
});

test('a table of workspaces has no control characters of paths in it', () => {
  const rows = statusTable([{ ...workspace, hostPath: '/a\u001b[2J\nb' }], Date.parse('2026-01-01T01:00:00Z')).split('\n');
  expect(rows[1]).toBe('/root/app   /a?[2J?b   shallow  -       -     unknown    1 h ago');
  expect(rows).toHaveLength(3);
});

test('an apply in a line, with notices and conflicts below it', () => {
  const work = { vm: 'box', operation: 'op-1' };
  expect(appliedText(work, { applied: 3, added: 1, deleted: 1, conflicts: ['a', 'b'], notices: ['a notice'] })).toBe('box op-1: 3 files changed (1 new, 1 removed), 2 conflicts\na notice\nconflict: a\nconflict: b\n');
  expect(appliedText(work, { applied: 1, added: 0, deleted: 0, conflicts: [], notices: [] })).toBe('box op-1: 1 file changed\n');
});

test('notices are a line each', () => {
  expect(noticeLines(['one', 'two\nlines'])).toBe('banger: one\nbanger: two?lines\n');
  expect([plural(0, 'file'), plural(1, 'file')]).toEqual(['0 files', '1 file']);
});

test('a hint is added to what an error has', () => {
  const error = new BangerError('workspace.no_git', 'No git', { hint: 'install it', detail: { opId: 'op-1' } });
  expect(withHint(error, 'or not')).toMatchObject({ code: 'workspace.no_git', message: 'No git', hint: 'install it; or not', detail: { opId: 'op-1' }, cause: error });
  expect(withHint(new TypeError('x'), 'the VM runs')).toMatchObject({ code: 'internal', message: 'x', hint: 'the VM runs' });
});
