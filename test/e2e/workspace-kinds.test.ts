// Each kind of repository that git knows, on a real guest: git there says what git on the host says, and a pull brings the same back.
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { escapeName } from '../../plugins/workspace/host/escape.ts';
import { makeHost, type Host } from '../support/host.ts';

let host: Host;
let count = 0;
const env = {
  PATH: process.env['PATH'], HOME: '/nonexistent', GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1', GIT_OPTIONAL_LOCKS: '0', LC_ALL: 'C',
  GIT_AUTHOR_NAME: 'Ann', GIT_AUTHOR_EMAIL: 'ann@localhost', GIT_COMMITTER_NAME: 'Ann', GIT_COMMITTER_EMAIL: 'ann@localhost',
};
const gitAt = (dir: string, ...args: string[]): string => execFileSync('git', ['-C', dir, ...args], { encoding: 'latin1', env, stdio: ['ignore', 'pipe', 'pipe'] }).trimEnd();

beforeAll(async () => {
  host = await makeHost();
  await host.ok(['vm', 'run', '-d', '--name', 'box']);
});
afterAll(async () => {
  await host.dispose();
});

function makeRepo(...options: string[]): string {
  count += 1;
  const dir = join(host.dir, `kind${count}`);
  execFileSync('git', ['init', '-q', '-b', 'main', ...options, dir], { env });
  return dir;
}
const write = (dir: string, name: string, content: string | Buffer = `${name}\n`): void => {
  mkdirSync(join(dir, name, '..'), { recursive: true });
  writeFileSync(join(dir, name), content);
};
function commit(dir: string, message = 'commit'): void {
  gitAt(dir, 'add', '-A');
  gitAt(dir, 'commit', '-q', '--allow-empty', '-m', message);
}

/** What git says of a checkout. The status with untracked files left out: they stay on the host. */
const says = `git rev-parse -q --verify HEAD; git symbolic-ref -q HEAD; git ls-files -s -v --eol -z | tr '\\0' '\\n'; git status --porcelain=v2 --untracked-files=no -z | tr '\\0' '\\n'
git submodule status --recursive 2>/dev/null | sed 's/ (.*//'; git diff --binary; git diff --cached --binary; git config core.sparseCheckout; git fsck --no-dangling 2>&1 | grep -v '^notice'; true`;

/** Prepares, compares what git says, and pulls; gives the refs of the pull. */
async function throughGuest(dir: string, flags: readonly string[] = []): Promise<(kind: string) => string> {
  const guestPath = `/root/kind${count}`;
  await host.ok(['vm', 'workspace', 'prepare', 'box', dir, '--guest-path', guestPath, ...flags]);
  const inGuest = (await host.ok(['vm', 'exec', 'box', '--guest-path', guestPath, '--', 'sh', '-c', says])).stdout.toString('latin1');
  const onHost = execFileSync('sh', ['-c', says], { cwd: dir, encoding: 'latin1', env });
  expect(inGuest).toBe(onHost);
  const { refs } = JSON.parse((await host.ok(['vm', 'workspace', 'pull', 'box', '--json', '--guest-path', guestPath])).out) as { refs: Record<string, string> };
  expect(gitAt(dir, 'rev-parse', `${refs['base']}^{tree}`)).toBe(gitAt(dir, 'rev-parse', `${refs['worktree']}^{tree}`));
  return (kind) => refs[kind]!;
}

test('names of any bytes, modes, empty files', async () => {
  const dir = makeRepo();
  for (const name of ['with space', 'quote"s\'', 'new\nline', 'tab\t', '-dash', 'ünïcode', '*?[]\\', 'deep/er/est']) write(dir, name);
  for (const name of [Buffer.from('latin-\xe9\xff', 'latin1'), Buffer.from('\x80\x01', 'latin1')]) writeFileSync(Buffer.concat([Buffer.from(`${dir}/`), name]), 'bytes\n');
  write(dir, 'empty', '');
  symlinkSync('nowhere at all', join(dir, 'dangling'));
  write(dir, 'exec');
  execFileSync('chmod', ['755', join(dir, 'exec')]);
  commit(dir);
  await throughGuest(dir);
});

test.each([false, true])('the list of a dry run is what arrives (untracked files: %s)', async (untracked) => {
  const dir = makeRepo();
  const bytes = (name: string): void => {
    const at = Buffer.from(`${dir}/${name}`, 'latin1');
    mkdirSync(at.subarray(0, at.lastIndexOf('/')), { recursive: true });
    writeFileSync(at, 'bytes\n');
  };
  const odd = ['with space', ' lead', 'new\nline', 'tab\t', 'ends\n', '\xff\xfe', 'caf\xc3\xa9', 'back\\slash', '-dash', '"quoted"', '\x1b[2J', 'dir \xe9/with\n/file'];
  for (const name of odd) bytes(name);
  write(dir, '.gitignore', 'ignored*\n');
  symlinkSync('new\nline', join(dir, 'link\n'));
  commit(dir);
  for (const name of ['un tracked', 'un\ntracked', 'un\xfftracked', 'some \xe9/un/tracked', 'ignored \xff']) bytes(name);
  write(dir, 'intended\n');
  gitAt(dir, 'add', '-N', 'intended\n');
  write(dir, 'staged');
  gitAt(dir, 'add', 'staged');
  unlinkSync(join(dir, 'with space'));
  const flags = untracked ? ['--include-untracked'] : [];
  const dry = async (...more: string[]): Promise<string> => (await host.ok(['vm', 'workspace', 'prepare', 'box', dir, '--dry-run', ...flags, ...more])).out;
  const { files } = JSON.parse(await dry('--json')) as { files: { path: string; pathBase64?: string; untracked?: true }[] };
  const listed = files.map(({ path, pathBase64 }) => ({ path: Buffer.from(pathBase64 ?? path, pathBase64 === undefined ? 'utf8' : 'base64').toString('latin1') }));
  // The words for a person: as many lines as files, none of them broken.
  const lines = (await dry()).split('\n').filter((line) => line.startsWith('  '));
  expect(lines).toEqual(listed.map(({ path }) => `  ${escapeName(path)}`));

  await throughGuest(dir, flags);
  const arrived = async (script: string): Promise<string[]> =>
    (await host.ok(['vm', 'exec', 'box', '--guest-path', `/root/kind${count}`, '--', 'sh', '-c', script])).stdout.toString('latin1').split('\0').slice(0, -1).toSorted();
  const names = listed.map(({ path }) => path).toSorted();
  expect(await arrived("find . -path ./.git -prune -o ! -type d -printf '%P\\0'")).toEqual(names);
  expect(names).toContain('dir \xe9/with\n/file');
  expect(names.includes('un\xfftracked')).toBe(untracked);
  const isUntracked = new Set(listed.filter((_, n) => files[n]!.untracked === true).map(({ path }) => path));
  expect(await arrived('git ls-files -z --others --exclude-standard')).toEqual([...isUntracked].toSorted());
  // Deleted on the host, it is in the index only.
  expect(await arrived('git ls-files -z')).toEqual([...names.filter((path) => !isUntracked.has(path)), 'with space'].toSorted());
});

test('an index that is neither HEAD nor the working tree', async () => {
  const dir = makeRepo();
  for (const name of ['both', 'staged', 'worktree', 'removed', 'unlinked', 'chmod']) write(dir, name);
  commit(dir);
  write(dir, 'both', 'staged\n');
  write(dir, 'staged', 'staged\n');
  write(dir, 'added');
  gitAt(dir, 'add', 'both', 'staged', 'added');
  write(dir, 'both', 'and edited\n');
  write(dir, 'worktree', 'edited\n');
  gitAt(dir, 'rm', '-q', '--cached', 'removed');
  unlinkSync(join(dir, 'removed'));
  unlinkSync(join(dir, 'unlinked'));
  execFileSync('chmod', ['755', join(dir, 'chmod')]);
  write(dir, 'intended');
  gitAt(dir, 'add', '-N', 'intended');
  gitAt(dir, 'update-index', '--assume-unchanged', 'staged');
  await throughGuest(dir);
});

test('line ends as the host has them', async () => {
  const dir = makeRepo();
  gitAt(dir, 'config', 'core.autocrlf', 'true');
  write(dir, '.gitattributes', '*.bat text eol=crlf\n*.bin binary\n');
  write(dir, 'unix', 'a\nb\n');
  write(dir, 'dos', 'a\r\nb\r\n');
  write(dir, 'run.bat', 'a\r\nb\r\n');
  write(dir, 'raw.bin', 'a\r\nb\n');
  commit(dir);
  rmSync(join(dir, 'unix'));
  gitAt(dir, 'checkout', '--', 'unix');
  await throughGuest(dir);
});

test('large files as pointers and as contents, without the program for them', async () => {
  const dir = makeRepo();
  write(dir, '.gitattributes', '*.dat filter=lfs diff=lfs merge=lfs -text\n');
  write(dir, 'pointer.dat', `version https://git-lfs.github.com/spec/v1\noid sha256:${'a'.repeat(64)}\nsize 12345\n`);
  commit(dir);
  await throughGuest(dir);
});

test('a sparse checkout', async () => {
  const dir = makeRepo();
  for (const name of ['top', 'in/file', 'out/file', 'out/deep/file']) write(dir, name);
  commit(dir);
  gitAt(dir, 'sparse-checkout', 'set', 'in');
  await throughGuest(dir);
});

test('a linked worktree, with a detached HEAD', async () => {
  const dir = makeRepo();
  write(dir, 'file');
  commit(dir, 'one');
  write(dir, 'file', 'two\n');
  commit(dir, 'two');
  const linked = `${dir}-linked`;
  gitAt(dir, 'worktree', 'add', '-q', '--detach', linked, 'HEAD~1');
  appendFileSync(join(linked, 'file'), 'edited\n');
  const ref = await throughGuest(linked);
  expect(gitAt(dir, 'show', `${ref('worktree')}:file`)).toBe('file\nedited');
});

test('a branch without commits', async () => {
  const dir = makeRepo();
  write(dir, 'staged');
  gitAt(dir, 'add', 'staged');
  write(dir, 'staged', 'edited\n');
  await throughGuest(dir);
});

test('a history with merges, more than is sent', async () => {
  const dir = makeRepo();
  for (let n = 0; n < 8; n += 1) {
    commit(dir, `main ${n}`);
    gitAt(dir, 'checkout', '-qb', `side${n}`);
    write(dir, `side${n}`);
    commit(dir, `side ${n}`);
    gitAt(dir, 'checkout', '-q', 'main');
    gitAt(dir, 'merge', '-q', '--no-ff', '-m', `merge ${n}`, `side${n}`);
  }
  await throughGuest(dir);
});

test('submodules at their commits, with their own edits', async () => {
  const inner = makeRepo();
  write(inner, 'inner');
  commit(inner);
  const middle = makeRepo();
  write(middle, 'middle');
  execFileSync('git', ['-C', middle, '-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'add', inner, 'deps/inner'], { env });
  commit(middle);
  const dir = makeRepo();
  write(dir, 'outer');
  execFileSync('git', ['-C', dir, '-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'add', middle, 'sub module'], { env });
  execFileSync('git', ['-C', dir, '-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'update', '--init', '--recursive'], { env });
  commit(dir);
  appendFileSync(join(dir, 'sub module', 'deps', 'inner', 'inner'), 'edited\n');
  await throughGuest(dir);
  // What a submodule of the guest commits is nowhere else.
  await host.ok(['vm', 'exec', 'box', '--guest-path', `/root/kind${count}/sub module`, '--', 'git', '-c', 'user.name=a', '-c', 'user.email=a@a', 'commit', '-q', '--allow-empty', '-m', 'own']);
  const refused = await host.banger(['vm', 'workspace', 'prepare', 'box', dir, '--guest-path', `/root/kind${count}`]);
  expect(refused.err).toContain('sub module/.git/HEAD');
});

test('object names of 256 bits', async () => {
  const dir = makeRepo('--object-format=sha256');
  write(dir, 'file');
  commit(dir);
  appendFileSync(join(dir, 'file'), 'edited\n');
  await throughGuest(dir);
});

test('a shallow clone, and one with packed refs and objects', async () => {
  const origin = makeRepo();
  for (let n = 0; n < 5; n += 1) {
    write(origin, 'file', `${n}\n`);
    commit(origin, `c${n}`);
  }
  gitAt(origin, 'gc', '-q');
  await throughGuest(origin);
  count += 1;
  const dir = join(host.dir, `kind${count}`);
  execFileSync('git', ['clone', '-q', '--depth', '2', `file://${origin}`, dir], { env });
  await throughGuest(dir);
});

const many = process.env['BANGER_TEST_LONG'] === '1' ? 100_000 : 3_000;
test(`${many} files, and again with three changed`, async () => {
  const began = performance.now();
  const took = (what: string): void => console.error(`${many} files, ${what}: after ${((performance.now() - began) / 1000).toFixed(1)} s`);
  const dir = makeRepo();
  for (let n = 0; n < many; n += 1) {
    if (n % 500 === 0) mkdirSync(join(dir, fileName(n), '..'), { recursive: true });
    writeFileSync(join(dir, fileName(n)), `${n}\n`);
  }
  commit(dir);
  took('made');
  const guestPath = `/root/kind${count}`;
  const prepare = async (): Promise<object> => JSON.parse((await host.ok(['vm', 'workspace', 'prepare', 'box', dir, '--guest-path', guestPath, '--json'], { timeoutMs: 1_200_000 })).out) as object;
  const guest = async (script: string): Promise<string> => (await host.ok(['vm', 'exec', 'box', '--guest-path', guestPath, '--', 'sh', '-c', script], { timeoutMs: 1_200_000 })).out;
  expect(await prepare()).toMatchObject({ files: many, sentFiles: many, removedFiles: 0 });
  took('first prepare');
  expect(await guest('git status --porcelain; git ls-files | wc -l; find . -path ./.git -prune -o -type f -print | wc -l')).toBe(`${many}\n${many}\n`);
  took('git status in the guest');
  for (const n of [0, 1234, many - 1]) appendFileSync(join(dir, fileName(n)), 'edited\n');
  expect(await prepare()).toMatchObject({ files: many, sentFiles: 3, removedFiles: 0 });
  took('second prepare');
  expect(await guest(`git status --porcelain; echo guest > ${fileName(77)}`)).toBe([0, 1234, many - 1].map((n) => ` M ${fileName(n)}\n`).toSorted().join(''));
  took('git status again');
  const pulled = JSON.parse((await host.ok(['vm', 'workspace', 'pull', 'box', '--json', '--guest-path', guestPath], { timeoutMs: 1_200_000 })).out) as { refs: Record<string, string> };
  took('pull');
  expect(pulled).toMatchObject({ commits: 0, changedFiles: 1 });
  expect(gitAt(dir, 'diff', '--name-status', pulled.refs['base']!, pulled.refs['worktree']!)).toBe(`M\t${fileName(77)}`);
  expect(gitAt(dir, 'show', `${pulled.refs['worktree']}:${fileName(77)}`)).toBe('guest');
}, 3_600_000);
const fileName = (n: number): string => `d${(n - (n % 500)) % 7}/${Math.floor(n / 500)}/f${n}`;
