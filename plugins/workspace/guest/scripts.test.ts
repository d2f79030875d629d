// The scripts with a real sh and git, in a repository of this host in place of a guest's.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { hostAgent, testVm } from '../testing/host-agent.ts';
import { runScript, scriptFailure } from './script.ts';
import type { ScriptResult } from './script.ts';
import { blobsScript, exportScript, pullScript, stateScript } from './scripts.ts';

let dir: string;
let repo: string;
const identity = { GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1', HOME: '/nonexistent', GIT_AUTHOR_NAME: 'a', GIT_AUTHOR_EMAIL: 'a@a', GIT_COMMITTER_NAME: 'a', GIT_COMMITTER_EMAIL: 'a@a' };
const git = (...args: string[]): string => execFileSync('git', ['-C', repo, ...args], { encoding: 'latin1', env: { PATH: process.env['PATH'], ...identity } }).trimEnd();
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'banger-scripts-'));
  repo = join(dir, 'repo');
  mkdirSync(repo);
  git('init', '-q', '-b', 'main');
  writeFileSync(join(repo, 'a'), 'one\n');
  writeFileSync(join(repo, '.gitignore'), 'out/\n');
  git('add', '.');
  git('commit', '-qm', 'first');
});
afterEach(() => rmSync(dir, { recursive: true }));

const run = (script: string, args: readonly string[], input?: Buffer): Promise<ScriptResult> => runScript(
  { agent: hostAgent(identity), vm: testVm, signal: new AbortController().signal },
  { script, args: [repo, ...args], idleLimitMs: 60_000, ...(input === undefined ? {} : { input }) });

/** Everything in `.git` but objects: what a script may not change. */
function fingerprint(): string[] {
  const out: string[] = [];
  for (const entry of readdirSync(join(repo, '.git'), { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile() && !path.includes('/objects/')) out.push(`${path} ${statSync(path, { bigint: true }).mtimeNs} ${readFileSync(path).toString('base64')}`);
  }
  return out.sort();
}

function edit(): void {
  writeFileSync(join(repo, 'a'), 'two\n');
  writeFileSync(join(repo, 'staged'), 'staged\n');
  git('add', 'staged');
  writeFileSync(join(repo, 'staged'), 'and more\n');
  writeFileSync(join(repo, 'new file\n"x"'), 'untracked\n');
  symlinkSync('a', join(repo, 'link'));
  mkdirSync(join(repo, 'out'));
  writeFileSync(join(repo, 'out', 'ignored'), 'x');
}

test('tells HEAD, branch, index and its tree, and changes nothing', async () => {
  edit();
  const before = fingerprint();
  const state = (gitDir: string): Promise<ScriptResult> => runScript(
    { agent: hostAgent(identity), vm: testVm, signal: new AbortController().signal }, { script: stateScript, args: [gitDir, 'op-1'], idleLimitMs: 60_000 });
  const { code, stdout } = await state(join(repo, '.git'));
  expect(code).toBe(0);
  expect(fingerprint()).toEqual(before);
  const digest = execFileSync('sh', ['-c', 'git ls-files -s -z | git hash-object --stdin'], { cwd: repo, encoding: 'latin1' }).trim();
  expect(stdout.toString()).toBe(`head ${git('rev-parse', 'HEAD')}\nheadtree ${git('rev-parse', 'HEAD^{tree}')}\nbranch refs/heads/main\nref ${git('rev-parse', 'HEAD')} refs/heads/main\nindex ${digest}\ntree ${git('write-tree')}\n`);
  // No other repository around it is taken for it.
  mkdirSync(join(repo, '.git/modules/gone'), { recursive: true });
  expect(await state(join(repo, '.git/modules/gone'))).toMatchObject({ code: 5 });
  expect((await state(repo)).code).toBe(5);
});

test('packs HEAD, index and the working tree with untracked files and without ignored ones', async () => {
  const base = git('rev-parse', 'HEAD');
  writeFileSync(join(repo, 'b'), 'b\n');
  git('add', 'b');
  git('commit', '-qm', 'second');
  edit();
  const before = fingerprint();
  const { code, stdout } = await run(pullScript, ['op-1', base]);
  expect(code).toBe(0);
  expect(fingerprint()).toEqual(before);
  const end = stdout.indexOf(0x0a);
  const words = stdout.toString('latin1', 0, end).split(' ');
  const worktree = words[4]!;
  expect(words.slice(0, 4)).toEqual(['banger-work', '1', git('rev-parse', 'HEAD'), git('write-tree')]);
  const names = git('ls-tree', '-r', '-z', '--name-only', worktree).split('\0').filter((name) => name !== '').sort();
  expect(names).toEqual(['.gitignore', 'a', 'b', 'link', 'new file\n"x"', 'staged']);
  expect(git('cat-file', 'blob', `${worktree}:staged`)).toBe('and more');
  expect(stdout.toString('latin1', end + 1, end + 5)).toBe('PACK');
  // What the host has is not sent again.
  const other = join(dir, 'other.git');
  execFileSync('git', ['clone', '-q', '--bare', repo, other]);
  const listed = execFileSync('git', ['-C', other, 'index-pack', '--stdin', '-v'], { input: stdout.subarray(end + 1), encoding: 'latin1', stdio: ['pipe', 'pipe', 'ignore'] });
  expect(listed).toMatch(/^pack\t/);
  const count = stdout.readUInt32BE(end + 1 + 8);
  expect(count).toBe(1 + 3 + 6); // a commit; its tree, the index's, the working tree's; b, staged twice, a, new, link
});

test('packs nothing that was sent, with and without new commits', async () => {
  for (let n = 0; n < 50; n += 1) writeFileSync(join(repo, `file${n}`), `${n}\n`);
  git('add', '.');
  git('commit', '-qm', 'many');
  writeFileSync(join(repo, 'a'), 'edited\n');
  const { stdout } = await run(pullScript, ['op-1', git('rev-parse', 'HEAD')]);
  expect(stdout.readUInt32BE(stdout.indexOf(0x0a) + 1 + 8)).toBe(2); // the tree and the file
});

test('takes files in that git was told to take for unchanged, and what a nested repository without commits leaves', async () => {
  git('update-index', '--assume-unchanged', 'a');
  writeFileSync(join(repo, 'a'), 'changed all the same\n');
  mkdirSync(join(repo, 'nested'));
  execFileSync('git', ['-C', join(repo, 'nested'), 'init', '-q']);
  writeFileSync(join(repo, 'other'), 'other\n');
  const { code, stdout, said } = await run(pullScript, ['op-1', '']);
  expect(code).toBe(0);
  const worktree = stdout.toString('latin1').split('\n')[0]!.split(' ')[4]!;
  expect(git('ls-tree', '--name-only', worktree)).toBe('.gitignore\na\nother');
  expect(git('cat-file', 'blob', `${worktree}:a`)).toBe('changed all the same');
  expect(said).toContain("error: 'nested/' does not have a commit checked out");
  expect((await run(exportScript, ['op-1', ''])).stdout.toString()).toContain('+changed all the same');
});

test('leaves no index of its own behind, not even one of a killed script', async () => {
  writeFileSync(join(repo, '.git', 'banger-op-0.index'), 'left by a kill');
  await run(pullScript, ['op-1', '']);
  expect(readdirSync(join(repo, '.git')).filter((name) => name.startsWith('banger-'))).toEqual([]);
});

test('packs an unborn branch', async () => {
  rmSync(join(repo, '.git'), { recursive: true });
  git('init', '-q', '-b', 'main');
  const { code, stdout } = await run(pullScript, ['op-1', '']);
  expect(code).toBe(0);
  expect(stdout.toString('latin1')).toMatch(/^banger-work 1 - - [0-9a-f]{40}\nPACK/);
});

test('leaves an unmerged index out', async () => {
  git('checkout', '-qb', 'side');
  writeFileSync(join(repo, 'a'), 'side\n');
  git('commit', '-qam', 'side');
  git('checkout', '-q', 'main');
  writeFileSync(join(repo, 'a'), 'main\n');
  git('commit', '-qam', 'main');
  expect(() => git('merge', 'side')).toThrow('Command failed');
  const { code, stdout } = await run(pullScript, ['op-1', '']);
  expect(code).toBe(0);
  expect(stdout.toString('latin1')).toMatch(/^banger-work 1 [0-9a-f]{40} - [0-9a-f]{40}\n/);
});

test('exports a patch that gives the working tree', async () => {
  const base = git('rev-parse', 'HEAD');
  writeFileSync(join(repo, 'binary'), Buffer.from([0, 1, 2, 255]));
  git('add', 'binary');
  git('commit', '-qm', 'second');
  edit();
  const before = fingerprint();
  const [fromHead, fromBase] = [await run(exportScript, ['op-1', '']), await run(exportScript, ['op-1', base])];
  expect(fingerprint()).toEqual(before);
  for (const [patch, ref, hasCommit] of [[fromHead, 'HEAD', false], [fromBase, base, true]] as const) {
    expect(patch.code).toBe(0);
    expect(patch.stdout.includes('GIT binary patch')).toBe(hasCommit);
    const copy = join(dir, `copy-${ref.slice(0, 4)}`);
    execFileSync('git', ['clone', '-q', repo, copy]);
    execFileSync('git', ['-C', copy, 'checkout', '-q', ref === 'HEAD' ? 'main' : ref]);
    execFileSync('git', ['-C', copy, 'apply', '--index'], { input: patch.stdout });
    const tree = execFileSync('git', ['-C', copy, 'write-tree'], { encoding: 'latin1' }).trim();
    const pulled = (await run(pullScript, ['op-2', ''])).stdout.toString('latin1').split('\n')[0]!.split(' ')[4];
    expect(tree).toBe(pulled);
  }
});

test('tells blobs of paths with any name, and leaves out what is gone', async () => {
  edit();
  const { code, stdout } = await run(blobsScript, ['op-1'], Buffer.from('a\0new file\n"x"\0gone\0'));
  expect(code).toBe(0);
  expect(stdout.toString('latin1')).toBe(`100644 ${git('hash-object', 'a')} 0\ta\x00100644 ${git('hash-object', 'new file\n"x"')} 0\tnew file\n"x"\0`);
});

test('says what is missing', async () => {
  const what = { vm: testVm, guestPath: repo, what: 'Collecting the work' };
  const unknown = await run(exportScript, ['op-1', 'f'.repeat(40)]);
  expect(scriptFailure(unknown, what).message).toContain(`the guest has no commit ${'f'.repeat(40)}`);
  rmSync(join(repo, '.git'), { recursive: true });
  expect(scriptFailure(await run(pullScript, ['op-1', '']), what).message).toContain('no git repository any more');
  const noGit = await runScript({ agent: hostAgent({ ...identity, PATH: '/nonexistent' }), vm: testVm, signal: new AbortController().signal },
    { script: 'exit 4', args: [], idleLimitMs: 1000 }).catch((error: unknown) => error);
  expect(noGit).toBeInstanceOf(Error); // no sh in that PATH
  expect(scriptFailure({ code: 4, stdout: Buffer.alloc(0), said: [] }, what).code).toBe('workspace.no_git');
});

test('ends a guest that says nothing, and one that says too much', async () => {
  await expect(runScript({ agent: hostAgent(), vm: testVm, signal: new AbortController().signal }, { script: 'sleep 60', args: [], idleLimitMs: 50 })).rejects.toMatchObject({ code: 'timeout' });
  await expect(runScript({ agent: hostAgent(), vm: testVm, signal: new AbortController().signal }, { script: 'cat /dev/zero', args: [], idleLimitMs: 60_000 })).rejects.toMatchObject({ code: 'operation_failed' });
});
