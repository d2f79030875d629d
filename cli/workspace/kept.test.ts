// Pulled work, handled in a real repository without any daemon.
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeDaemon } from '../testing/fake-daemon.ts';
import { git, makeRepo, writeFiles } from '../testing/git-repo.ts';
import { bangerProgram, runCli, startInTerminal, type CliResult } from '../testing/run-cli.ts';

let daemon: FakeDaemon;
let repo: string;
beforeEach(async () => {
  daemon = await new FakeDaemon().listen();
  repo = realpathSync(makeRepo(daemon.dir, { 'a.txt': 'one\n', 'b.txt': 'two\n' }));
  keep('box', 'op-1', { 'a.txt': 'guest\n' });
});
afterEach(async () => {
  // None of these commands needs one.
  expect(daemon.calls).toEqual([]);
  await daemon.dispose();
});
const banger = (...words: string[]): Promise<CliResult> => runCli(['vm', 'workspace', ...words, '--repo', repo], { env: daemon.env });

/** What a pull leaves behind: the refs of one operation. The repository is clean before and after. */
function keep(vm: string, operation: string, files: Readonly<Record<string, string>>): void {
  const commit = (tree: string, subject: string): string => git(repo, 'commit-tree', tree, '-p', 'HEAD', '-m', subject).trim();
  writeFiles(repo, files);
  git(repo, 'add', '-A');
  const tree = git(repo, 'write-tree').trim();
  git(repo, 'reset', '-q', '--hard');
  const count = Object.keys(files).length;
  git(repo, 'update-ref', `refs/banger/${vm}/${operation}/base`, commit('HEAD^{tree}', `What went into ${vm}`));
  git(repo, 'update-ref', `refs/banger/${vm}/${operation}/worktree`, commit(tree, `Work of ${vm}: 0 commits, ${count} changed file${count === 1 ? '' : 's'}`));
}
const refs = (): string[] => git(repo, 'for-each-ref', '--format=%(refname)', 'refs/banger').split('\n').filter((line) => line !== '');

describe('list', () => {
  test('shows the work of one VM or of all', async () => {
    keep('other', 'op-2', { 'a.txt': 'x\n', 'new.txt': 'y\n' });
    const one = await banger('list', 'box');
    expect([one.code, one.out]).toEqual([0, 'VM   OPERATION  PULLED    COMMITS  FILES\nbox  op-1       just now  0        1\n']);
    expect((await banger('list')).out.split('\n').slice(1, -1).map((line) => line.split(/ +/)[0]).toSorted()).toEqual(['box', 'other']);
    expect(JSON.parse((await banger('list', 'other', '--json')).out)).toMatchObject({ repository: repo, work: [{ vm: 'other', operation: 'op-2', commits: 0, changedFiles: 2, refs: { base: 'refs/banger/other/op-2/base' } }] });
  });
  test('shows the head of the table where nothing was pulled', async () => {
    expect((await banger('ls', 'nobody')).out).toBe('VM  OPERATION  PULLED  COMMITS  FILES\n');
  });
});

describe('diff', () => {
  test('is that of git, of the last pull or of the one named', async () => {
    keep('box', 'op-2', { 'b.txt': 'later\n' });
    const first = await banger('diff', 'box', 'op-1');
    expect([first.code, first.err]).toEqual([0, '']);
    expect(first.out).toMatch(/^diff --git a\/a\.txt b\/a\.txt\n[^]*\n-one\n\+guest\n$/);
    expect((await banger('diff', 'box', '--name-only')).out).toBe('b.txt\n');
    expect((await banger('diff', 'box', 'op-1', '--stat')).out).toMatch(/^ a\.txt \| 2 \+-\n 1 file changed/);
  });
  test('runs no program that the repository configures', async () => {
    for (const [key, value] of [['diff.external', 'touch'], ['diff.evil.textconv', 'touch'], ['diff.evil.command', 'touch']]) git(repo, 'config', key!, `${value} ${join(daemon.dir, 'ran')};:`);
    writeFiles(repo, { '.git/info/attributes': '* diff=evil\n' });
    expect((await banger('diff', 'box')).out).toContain('+guest');
    expect(existsSync(join(daemon.dir, 'ran'))).toBe(false);
  });
  test("has git's colours and pager on a terminal", async () => {
    git(repo, 'config', 'core.pager', "sed 's/^/paged: /'");
    const { code, out } = await startInTerminal(`cd ${repo} && ${bangerProgram()} vm workspace diff box`, daemon.env).result;
    expect(code).toBe(0);
    expect(out).toContain('paged: \u001b[1mdiff --git');
  });
  test('of work that is not there is an error', async () => {
    expect(await banger('diff', 'nobody')).toMatchObject({ code: 1, out: '', err: expect.stringContaining('keeps no work of nobody') as string });
    expect(await banger('diff', 'box', '--stat', '--name-only')).toMatchObject({ code: 2 });
    expect(await banger('diff', '--', 'box')).toMatchObject({ code: 2 });
  });
});

describe('apply', () => {
  test('merges the work into the working files and leaves the index alone', async () => {
    keep('box', 'op-2', { 'b.txt': 'later\n', 'new.txt': 'new\n' });
    writeFiles(repo, { 'a.txt': 'mine\n' });
    expect(await banger('apply', 'box', 'op-2')).toMatchObject({ code: 0, out: 'box op-2: 2 files changed (1 new)\n', err: '' });
    expect(git(repo, 'status', '--porcelain')).toBe(' M a.txt\n M b.txt\n?? new.txt\n');
    expect(await banger('apply', 'box', 'op-2')).toMatchObject({ code: 0, out: 'box op-2: nothing to change\n' });
  });
  test('exits 1 with conflicts, each named, which are left as git leaves them', async () => {
    writeFiles(repo, { 'a.txt': 'mine\n' });
    expect(await banger('apply', 'box')).toMatchObject({ code: 1, out: 'box op-1: 1 file changed, 1 conflict\nconflict: a.txt\n', err: '' });
    expect(git(repo, 'status', '--porcelain')).toBe('UU a.txt\n');
    expect(readFileSync(join(repo, 'a.txt'), 'utf8')).toMatch(/^<<<<<<< [^]*mine\n=======\nguest\n>>>>>>> /);
  });
  test('--json gives the same as data', async () => {
    writeFiles(repo, { 'a.txt': 'mine\n' });
    const { code, out } = await banger('apply', 'box', '--json');
    expect([code, JSON.parse(out)]).toEqual([1, { vm: 'box', operation: 'op-1', applied: 1, added: 0, deleted: 0, conflicts: [{ path: 'a.txt' }], notices: [] }]);
  });
  test('is refused where a file of yours is in the way', async () => {
    keep('box', 'op-2', { 'new.txt': 'new\n' });
    writeFiles(repo, { 'new.txt': 'mine\n' });
    expect(await banger('apply', 'box', 'op-2')).toMatchObject({ code: 1, out: '', err: expect.stringContaining('new.txt') as string });
    expect(readFileSync(join(repo, 'new.txt'), 'utf8')).toBe('mine\n');
  });
});

describe('drop', () => {
  test('lets go of one operation, or of all of a VM', async () => {
    keep('box', 'op-2', { 'b.txt': 'later\n' });
    keep('other', 'op-3', { 'b.txt': 'later\n' });
    expect(await banger('drop', 'box', 'op-1')).toMatchObject({ code: 0, out: 'box op-1 dropped\n' });
    expect(refs().map((ref) => ref.split('/')[3])).toEqual(['op-2', 'op-2', 'op-3', 'op-3']);
    expect(await banger('drop', 'box', '--all')).toMatchObject({ code: 0, out: 'box op-2 dropped\n' });
    expect(refs().map((ref) => ref.split('/')[2])).toEqual(['other', 'other']);
  });
  test('wants to be told what', async () => {
    expect(await banger('drop', 'box')).toMatchObject({ code: 2, err: 'banger: banger vm workspace drop needs an operation, or --all\n  hint: banger vm workspace list box lists them\n' });
    expect(await banger('drop', 'box', 'op-1', '--all')).toMatchObject({ code: 2 });
    expect(await banger('drop', 'box', 'op-9')).toMatchObject({ code: 1 });
    expect(refs()).toHaveLength(2);
  });
});

test('the repository is that of the current directory without --repo, and there has to be one', async () => {
  const inDir = (dir: string): Promise<CliResult> => startInTerminal(`cd ${dir} && ${bangerProgram()} vm workspace list`, daemon.env).result;
  expect((await inDir(repo)).out).toContain('op-1');
  expect(await inDir(daemon.dir)).toMatchObject({ code: 2, out: expect.stringContaining('is not in a git repository') as string });
});
