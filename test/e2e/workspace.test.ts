// Workspaces on a real guest: what goes in, what is refused, what a second prepare does, what comes back.
import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { makeHost, type Host, type RunResult } from '../support/host.ts';

let host: Host;
let repo: string;
let count = 0;
const who = { GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1', GIT_AUTHOR_NAME: 'Ann', GIT_AUTHOR_EMAIL: 'ann@localhost', GIT_COMMITTER_NAME: 'Ann', GIT_COMMITTER_EMAIL: 'ann@localhost' };
const gitAt = (dir: string, ...args: string[]): string => execFileSync('git', ['-C', dir, ...args], { encoding: 'utf8', env: { PATH: process.env['PATH'], ...who }, stdio: ['ignore', 'pipe', 'pipe'] }).trimEnd();
const git = (...args: string[]): string => gitAt(repo, ...args);
const inRepo = (name: string): string => join(repo, name);
const write = (name: string, content: string | Buffer): void => {
  mkdirSync(join(inRepo(name), '..'), { recursive: true });
  writeFileSync(inRepo(name), content);
};

beforeAll(async () => {
  host = await makeHost();
  await host.ok(['vm', 'run', '-d', '--name', 'box']);
});
afterAll(async () => {
  await host.dispose();
});
beforeEach(() => {
  count += 1;
  repo = join(host.dir, `repo${count}`);
  mkdirSync(repo);
  git('init', '-q', '-b', 'main');
  git('config', 'user.name', 'Bea');
  git('config', 'user.email', 'bea@localhost');
  git('remote', 'add', 'origin', 'https://bea:secret@example.invalid/r.git');
  write('Makefile', 'test:\n\t@echo tested\n');
  write('src/main.c', 'int main(void) { return 0; }\n');
  write('run me.sh', '#!/bin/sh\n');
  execFileSync('chmod', ['755', inRepo('run me.sh')]);
  symlinkSync('src/main.c', inRepo('link'));
  write('empty', '');
  write('.gitignore', 'out/\n*.o\n');
  git('add', '.');
  git('commit', '-qm', 'first');
});

const at = (): string => `/root/repo${count}`;
const banger = (...args: string[]): Promise<RunResult> => host.banger(args);
const prepare = (...flags: string[]): Promise<RunResult> => host.ok(['vm', 'workspace', 'prepare', 'box', repo, ...flags]);
const guest = async (script: string): Promise<string> => (await host.ok(['vm', 'exec', 'box', '--guest-path', at(), '--', 'sh', '-c', script])).out;
const prepared = async (...flags: string[]): Promise<Record<string, unknown>> => JSON.parse((await prepare('--json', ...flags)).out) as Record<string, unknown>;
/** The host's repository as git and the disk have it, to compare before and after. */
const fingerprint = (): string => execFileSync('sh', ['-c', 'find . -type f -not -path "./.git/objects/*" -not -path "./.git/refs/banger/*" -printf "%p %s %T@\\n" | sort; git status --porcelain -z | tr "\\0" "\\n"; git rev-parse HEAD; git for-each-ref | grep -v refs/banger'], { cwd: repo, encoding: 'utf8', env: { PATH: process.env['PATH'], ...who, GIT_OPTIONAL_LOCKS: '0' } });

test('a repository goes in as a repository, and the host is untouched', async () => {
  write('src/main.c', 'int main(void) { return 1; }\n');
  write('staged', 'staged\n');
  git('add', 'staged');
  write('staged', 'and edited\n');
  write('untracked', 'u\n');
  write('out/build', 'ignored\n');
  unlinkSync(inRepo('empty'));
  const before = fingerprint();
  const result = await prepare();
  expect(fingerprint()).toBe(before);
  expect(result.err).toContain('--include-untracked');
  expect(await guest('git status --porcelain; git rev-parse HEAD; git fsck --full --no-dangling 2>&1')).toBe(
    ` D empty\n M src/main.c\nAM staged\n${git('rev-parse', 'HEAD')}\n`);
  expect(await guest('git config user.name; git config user.email; git remote get-url origin; git symbolic-ref HEAD; cat staged; git show :staged; readlink link; test -x "run me.sh" && echo exec')).toBe(
    'Bea\nbea@localhost\nhttps://example.invalid/r.git\nrefs/heads/main\nand edited\nstaged\nsrc/main.c\nexec\n');
  expect(await guest('ls -a; cd /root/repo && pwd -P')).toBe(`.\n..\n.git\n.gitignore\nMakefile\nlink\nrun me.sh\nsrc\nstaged\n${at()}\n`);
  // The next command runs there without being told where.
  expect((await host.ok(['vm', 'exec', 'box', '--', 'make', 'test'])).out).toBe('tested\n');
  expect((await host.ok(['vm', 'list'])).out).toContain(at());
});

test('untracked files go in when asked, ignored ones never', async () => {
  write('untracked dir/"q"\nline', 'u\n');
  write('a.o', 'x');
  await prepare('--include-untracked');
  expect(await guest('find . -name .git -prune -o -type f -newer Makefile -print | grep -c untracked; ls *.o 2>&1 | head -1; git status --porcelain | wc -l')).toMatch(/\n?.*No such file.*\n1\n/);
});

test('a second prepare sends what changed, keeps build output, and removes what is gone', async () => {
  expect(await prepared()).toMatchObject({ files: 6, sentFiles: 6 });
  await guest('mkdir out && echo built > out/build && echo note > notes');
  write('src/main.c', 'int main(void) { return 2; }\n');
  write('new/deep/file', 'n\n');
  git('add', 'new');
  git('rm', '-q', 'empty');
  git('commit', '-qm', 'second');
  expect(await prepared()).toMatchObject({ files: 6, sentFiles: 2, removedFiles: 1 });
  expect(await guest('git log --format=%s; git status --porcelain; cat out/build notes src/main.c; ls empty 2>/dev/null; git fsck --no-dangling 2>&1')).toBe(
    'second\nfirst\n M src/main.c\n?? notes\nbuilt\nnote\nint main(void) { return 2; }\n');
  expect(await prepared()).toMatchObject({ sentFiles: 0, removedFiles: 0 });
  await prepare('--clean');
  expect(await guest('ls out notes 2>/dev/null; git status --porcelain')).toBe(' M src/main.c\n');
});

test("the guest's edits are not written over, unless they are kept or it is told to", async () => {
  await prepare();
  await guest('echo edited > src/main.c; git add src/main.c; git commit -qm guest; echo more > Makefile');
  write('src/main.c', 'host\n');
  write('Makefile', 'host\n');
  const refused = await banger('vm', 'workspace', 'prepare', 'box', repo);
  expect(refused).toMatchObject({ code: 1, out: '' });
  expect(refused.err).toContain('would be overwritten');
  expect(await guest('cat src/main.c Makefile; git log --format=%s')).toBe('edited\nmore\nguest\nfirst\n');
  await host.ok(['vm', 'workspace', 'pull', 'box']);
  const head = await guest('git rev-parse HEAD');
  await prepare();
  expect(await guest('cat src/main.c Makefile; git log --format=%s; git for-each-ref --format="%(objectname)" refs/banger/before')).toBe(`host\nhost\nfirst\n${head}`);
  await guest('echo again > Makefile');
  write('Makefile', 'host again\n');
  expect((await banger('vm', 'workspace', 'prepare', 'box', repo)).code).toBe(1);
  await prepare('--force');
  expect(await guest('cat Makefile')).toBe('host again\n');
});

test('files become directories and links, and back', async () => {
  write('thing', 'file\n');
  git('add', 'thing');
  await prepare();
  unlinkSync(inRepo('thing'));
  write('thing/inside', 'x\n');
  git('add', '-A');
  await prepare();
  expect(await guest('cat thing/inside; git status --porcelain')).toBe('x\nA  thing/inside\n');
  rmSync(inRepo('thing'), { recursive: true });
  symlinkSync('src', inRepo('thing'));
  git('add', '-A');
  await prepare();
  expect(await guest('readlink thing; git status --porcelain')).toBe('src\nA  thing\n');
  // A directory that holds something of the guest's does not give way.
  unlinkSync(inRepo('thing'));
  write('thing/inside', 'x\n');
  git('add', '-A');
  await prepare();
  await guest('echo note > thing/note');
  rmSync(inRepo('thing'), { recursive: true });
  write('thing', 'file\n');
  git('add', '-A');
  expect((await banger('vm', 'workspace', 'prepare', 'box', repo)).err).toContain('would be overwritten: thing');
  expect(await guest('cat thing/note')).toBe('note\n');
  await prepare('--force');
  expect(await guest('cat thing')).toBe('file\n');
});

test('work comes back as refs, and the host is untouched', async () => {
  write('Makefile', 'dirty on the host\n');
  await prepare();
  await guest(`git config user.name; echo g > guest.txt; git add guest.txt; git commit -qm work; echo staged > staged; git add staged; echo edit > staged
    echo un > 'untracked "x"'; mkdir -p out; echo ignored > out/x; rm empty`);
  write('src/main.c', 'edited on the host meanwhile\n');
  const before = fingerprint();
  const pulled = JSON.parse((await host.ok(['vm', 'workspace', 'pull', 'box', '--json'])).out) as { refs: Record<string, string>; commits: number; changedFiles: number; operation: string };
  expect(fingerprint()).toBe(before);
  expect(pulled).toMatchObject({ commits: 1, changedFiles: 4 });
  const ls = (ref: string): string => git('ls-tree', '-r', '--name-only', '-z', pulled.refs[ref]!).replaceAll('\0', '\n').trim();
  expect(git('log', '--format=%s %an', `main..${pulled.refs['head']}`)).toBe('work Bea');
  expect(ls('worktree')).toBe('.gitignore\nMakefile\nguest.txt\nlink\nrun me.sh\nsrc/main.c\nstaged\nuntracked "x"');
  expect(ls('index')).toBe('.gitignore\nMakefile\nempty\nguest.txt\nlink\nrun me.sh\nsrc/main.c\nstaged');
  expect(git('show', `${pulled.refs['index']}:staged`)).toBe('staged');
  expect(git('show', `${pulled.refs['worktree']}:staged`)).toBe('edit');
  expect(git('show', `${pulled.refs['base']}:Makefile`)).toBe('dirty on the host');
  expect(git('fsck', '--no-dangling')).toBe('');
  // What the guest did, and nothing of the host's own edits.
  const diff = await host.ok(['vm', 'workspace', 'diff', 'box', '--name-only', '--repo', repo]);
  expect(diff.out.trim().split('\n').sort()).toEqual(['"untracked \\"x\\""', 'empty', 'guest.txt', 'staged']);
  await host.ok(['vm', 'workspace', 'apply', 'box', '--repo', repo]);
  expect(readFileSync(inRepo('staged'), 'utf8') + readFileSync(inRepo('untracked "x"'), 'utf8') + readFileSync(inRepo('src/main.c'), 'utf8')).toBe('edit\nun\nedited on the host meanwhile\n');
  expect(existsSync(inRepo('empty'))).toBe(false);
  await host.ok(['vm', 'workspace', 'drop', 'box', '--all', '--repo', repo]);
  expect(git('for-each-ref', 'refs/banger')).toBe('');
});

test('an export is a patch that git applies', async () => {
  await prepare();
  const base = git('rev-parse', 'HEAD');
  await guest(`echo c > committed; git add committed; git commit -qm c; head -c 3000 /dev/urandom > binary; echo x >> Makefile; rm empty`);
  const state = 'git rev-parse HEAD; git status --porcelain; git write-tree; ls .git';
  const before = await guest(state);
  const patch = await host.ok(['vm', 'workspace', 'export', 'box', '--base-commit', base]);
  const file = join(host.dir, `patch${count}`);
  await host.ok(['vm', 'workspace', 'export', 'box', '--output', file]);
  expect(await guest(state)).toBe(before);
  expect(readFileSync(file, 'utf8')).not.toContain('committed');
  const other = join(host.dir, `other${count}`);
  execFileSync('git', ['clone', '-q', repo, other]);
  execFileSync('git', ['-C', other, 'apply', '--index'], { input: patch.stdout });
  expect(gitAt(other, 'diff', '--cached', '--name-status')).toBe('M\tMakefile\nA\tbinary\nA\tcommitted\nD\tempty');
  expect(gitAt(other, 'hash-object', join(other, 'binary'))).toBe((await guest('git hash-object binary')).trim());
  const unknown = await banger('vm', 'workspace', 'export', 'box', '--base-commit', 'f'.repeat(40));
  expect(unknown.code).toBe(1);
  expect(unknown.err).toContain('no commit');
});

test('vm exec says that the repository moved on, and prepares again when told', async () => {
  await prepare();
  expect((await banger('vm', 'exec', 'box', '--', 'true')).err).toBe('');
  write('Makefile', 'test:\n\t@echo newer\n');
  git('commit', '-qam', 'newer');
  const warned = await banger('vm', 'exec', 'box', '--', 'make', 'test');
  expect(warned).toMatchObject({ code: 0, out: 'tested\n' });
  expect(warned.err).toContain('--auto-prepare');
  expect((await host.ok(['vm', 'exec', '--auto-prepare', 'box', '--', 'make', 'test'])).out).toBe('newer\n');
});

test('a branch for the guest only, from another commit', async () => {
  write('Makefile', 'second\n');
  git('commit', '-qam', 'second');
  write('Makefile', 'dirty\n');
  await prepare('--branch', 'try', '--from', 'HEAD~1');
  expect(await guest('git symbolic-ref --short HEAD; git log --format=%s; git status --porcelain; grep -c tested Makefile')).toBe('try\nfirst\n1\n');
  expect(git('branch', '--list')).toBe('* main');
});

test('whole history, and history without files', async () => {
  for (let n = 0; n < 14; n += 1) git('commit', '-q', '--allow-empty', '-m', `c${n}`);
  git('tag', 'v1');
  git('branch', 'side', 'HEAD~3');
  await prepare();
  expect(await guest('git log --format=%s | wc -l; git rev-parse --is-shallow-repository; git fsck --no-dangling 2>&1')).toBe('10\ntrue\n');
  await prepare('--mode', 'full_copy', '--clean');
  expect(await guest('git log --format=%s | wc -l; git rev-parse --is-shallow-repository; git for-each-ref --format="%(refname)" | grep -v refs/sent; git fsck --no-dangling 2>&1')).toMatch(
    /^15\nfalse\nrefs\/heads\/main\nrefs\/heads\/side\nrefs\/tags\/v1\n$/);
  // A branch of the guest that the host did not move stays, one that it moved is not written over.
  await guest('git branch -q mine; git commit -q --allow-empty -m more; git branch -f side HEAD; git reset -q --soft HEAD~1');
  await prepare('--mode', 'full_copy');
  expect(await guest('git log -1 --format=%s side; git rev-parse -q --verify mine >/dev/null && echo mine')).toBe('more\nmine\n');
  git('branch', '-f', 'side', 'HEAD~2');
  const refused = await banger('vm', 'workspace', 'prepare', 'box', repo, '--mode', 'full_copy');
  expect(refused.err).toContain('.git/refs/heads/side');
  await prepare('--mode', 'metadata', '--clean', '--force');
  expect(await guest('ls; git ls-files | wc -l; git checkout -q -- . && git status --porcelain')).toBe('6\n');
});

test('--clean takes no work that has a name in the guest, and nothing that no prepare put there', async () => {
  await prepare();
  await guest('git switch -qc mine; git commit -q --allow-empty -m m; git switch -q main; echo x >> Makefile; git stash -q; mkdir /root/taken; echo x > /root/taken/x');
  const refused = await banger('vm', 'workspace', 'prepare', 'box', repo, '--clean');
  expect([refused.code, refused.out]).toEqual([1, '']);
  expect(refused.err).toContain('refs/heads/mine');
  expect(refused.err).toContain('refs/stash');
  await prepare('--clean', '--force');
  expect(await guest('git for-each-ref --format="%(refname)" | grep -v refs/sent; git fsck --no-dangling 2>&1; git gc -q 2>&1')).toBe('refs/heads/main\n');
  for (const flags of [[], ['--clean']]) {
    const taken = await banger('vm', 'workspace', 'prepare', 'box', repo, '--guest-path', '/root/taken', ...flags);
    expect(taken.err).toContain('something else at /root/taken');
  }
  expect(await guest('cat /root/taken/x')).toBe('x\n');
  await prepare('--guest-path', '/root/taken', '--clean', '--force');
  expect(await guest('ls /root/taken')).toBe('Makefile\nempty\nlink\nrun me.sh\nsrc\n');
});

test("settings and branches of the guest's own survive a prepare", async () => {
  await prepare();
  await guest('git remote add fork https://example.invalid/fork.git; git branch -q own; git config my.key value');
  write('Makefile', 'next\n');
  git('commit', '-qam', 'next');
  await prepare();
  expect(await guest('git remote; git config my.key; git branch --list own; git log --format=%s')).toBe('fork\norigin\nvalue\n  own\nnext\nfirst\n');
});

test('mise is asked to trust what came, and a repository called repo takes the place of the link', async () => {
  await prepare();
  await guest(`printf '%s\n' '#!/bin/sh' 'echo "$PWD $*" >> /root/mise.log' > /usr/local/bin/mise; chmod 755 /usr/local/bin/mise`);
  const named = join(host.dir, `named${count}`, 'repo');
  mkdirSync(named, { recursive: true });
  writeFileSync(join(named, '.mise.toml'), '[tools]\n');
  execFileSync('git', ['-C', named, 'init', '-q']);
  execFileSync('git', ['-C', named, 'add', '.']);
  for (let n = 0; n < 2; n += 1) await host.ok(['vm', 'workspace', 'prepare', 'box', named]);
  expect(await guest('cat /root/mise.log; test -d /root/repo/.git && ! test -L /root/repo && echo repository; rm -r /root/repo /usr/local/bin/mise')).toBe(
    '/root/repo trust --quiet --all\n/root/repo trust --quiet --all\nrepository\n');
});

test('what cannot go in is refused before anything', async () => {
  const refused = async (args: readonly string[], text: string, code = 2): Promise<void> => {
    const result = await banger(...args);
    expect([result.code, result.out], result.err).toEqual([code, '']);
    expect(result.err).toContain(text);
  };
  const bare = join(host.dir, `bare${count}`);
  execFileSync('git', ['init', '-q', '--bare', bare]);
  const plain = join(host.dir, `plain${count}`);
  mkdirSync(plain);
  const vms = (await host.ok(['vm', 'list', '-q'])).out;
  for (const way of [['vm', 'workspace', 'prepare', 'box'], ['vm', 'run', '--rm']]) {
    await refused([...way, join(plain, 'nowhere')], 'nowhere');
    await refused([...way, plain], 'git repository');
    await refused([...way, bare], 'bare');
    await refused([...way, repo, '--from', 'HEAD'], '--branch');
    await refused([...way, repo, '--mode', 'everything'], 'everything');
    await refused([...way, repo, '--guest-path', '/root/.ssh'], '.ssh');
  }
  await refused(['vm', 'workspace', 'prepare', 'nobody', repo], 'nobody', 1);
  git('checkout', '-qb', 'side');
  write('Makefile', 'side\n');
  git('commit', '-qam', 'side');
  git('checkout', '-q', 'main');
  write('Makefile', 'main\n');
  git('commit', '-qam', 'main');
  expect(() => git('merge', 'side')).toThrow('Command failed');
  await refused(['vm', 'workspace', 'prepare', 'box', repo], 'merge', 1);
  expect((await host.ok(['vm', 'list', '-q'])).out).toBe(vms);
  expect(await host.banger(['vm', 'exec', 'box', '--guest-path', '/root', '--', 'ls', '-d', at()])).toMatchObject({ code: 2 });
});

test('vm run puts the workspace in, runs the command there, and pulls before it deletes', async () => {
  const run = await host.banger(['vm', 'run', '--rm', '--pull', '--name', 'once', repo, '--', 'sh', '-c', 'make test; echo made > result; pwd; exit 3']);
  expect(run, run.err).toMatchObject({ code: 3, out: `tested\n${at()}\n` });
  expect((await host.ok(['vm', 'list'])).out).not.toContain('once');
  expect(git('show', `${git('for-each-ref', '--format=%(refname)', 'refs/banger/once/*/worktree')}:result`)).toBe('made');
  expect(lstatSync(inRepo('Makefile')).isFile()).toBe(true);
  expect(existsSync(inRepo('result'))).toBe(false);
});

test('work comes back from a VM that was stopped', async () => {
  await prepare();
  await guest('echo late > late');
  await host.ok(['vm', 'stop', 'box']);
  expect(await banger('vm', 'workspace', 'prepare', 'box', repo)).toMatchObject({ code: 1, out: '', err: expect.stringContaining('not running') as string });
  await host.ok(['vm', 'workspace', 'pull', 'box']);
  expect((await host.vm('box')).state).toBe('stopped');
  expect(git('show', `${git('for-each-ref', '--format=%(refname)', 'refs/banger/box/*/worktree')}:late`)).toBe('late');
  await host.ok(['vm', 'start', 'box']);
});
