// Workspaces of guests that are no help: too much work, lies, no git. Parts that are killed half-way: workspace-kill.test.ts.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeHost, type Host } from '../support/host.ts';
import { scratchImage } from '../support/scratch-image.ts';

let host: Host;
let repo: string;
const who = { GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1', GIT_AUTHOR_NAME: 'Ann', GIT_AUTHOR_EMAIL: 'ann@localhost', GIT_COMMITTER_NAME: 'Ann', GIT_COMMITTER_EMAIL: 'ann@localhost' };
const git = (...args: string[]): string => execFileSync('git', ['-C', repo, ...args], { encoding: 'utf8', env: { PATH: process.env['PATH'], ...who } }).trimEnd();
/** What a fault must leave behind: a sound repository without our leftovers. */
function expectSound(): void {
  expect(git('fsck', '--full', '--no-dangling')).toBe('');
  expect(readdirSync(join(repo, '.git', 'objects')).filter((name) => name.startsWith('tmp_objdir'))).toEqual([]);
  expect(git('status', '--porcelain')).toBe('');
}

beforeAll(async () => {
  host = await makeHost({ config: '[vm_defaults]\nvcpu = 1\nmemory_mib = 512\ninit = "agent"\n[plugins.workspace]\nmax_pull_mib = 1\n' });
  repo = join(host.dir, 'repo');
  mkdirSync(repo);
  git('init', '-q', '-b', 'main');
  writeFileSync(join(repo, 'file'), 'content\n');
  git('add', '.');
  git('commit', '-qm', 'first');
  await host.ok(['vm', 'run', '-d', '--name', 'box', repo]);
});
afterAll(async () => {
  await host.dispose();
});

const inGuest = async (script: string, shell = 'sh'): Promise<string> => (await host.ok(['vm', 'exec', 'box', '--quiet', '--guest-path', '/root/repo', '--', shell, '-c', script])).out;

test('work that is larger than the limit is refused', async () => {
  await inGuest('head -c 2000000 /dev/urandom > huge');
  const large = await host.banger(['vm', 'workspace', 'pull', 'box']);
  expect(large).toMatchObject({ code: 1, out: '' });
  expect(large.err).toContain('1 MiB');
  expect(git('for-each-ref', 'refs/banger')).toBe('');
  expectSound();
  await inGuest('truncate -s 500000 huge');
  await host.ok(['vm', 'workspace', 'pull', 'box']);
  expect(git('cat-file', '-s', `${git('for-each-ref', '--format=%(refname)', 'refs/banger/box/*/worktree')}:huge`)).toBe('500000');
  expectSound();
});

test('a guest whose git lies writes nothing', async () => {
  const lies = [
    ['echo "banger-work 1 - - ../../../etc/passwd"', 'does not say what its work is'], ['echo "banger-work 1 - - $(printf %040d 0)"', 'is refused'], ['cat /dev/zero', 'does not say what its work is'], ['exit 0', 'said nothing'],
    [`printf 'banger-work 1 - - %s\\n' ${'f'.repeat(40)}; printf 'PACK\\0\\0\\0\\002\\377\\377\\377\\377'; head -c 100000 /dev/urandom`, 'is refused'],
  ] as const;
  const refs = git('for-each-ref');
  // What the image calls git and sh is the guest's: the daemon asks for sh. The true one (dash has no other file) is moved away.
  await inGuest('mkdir /root/lie && cp -L /bin/sh /root/lie/true && : > /root/lie/sh && chmod 755 /root/lie/sh && mount --bind /root/lie/sh /bin/sh');
  for (const [lie, said] of lies) {
    await inGuest(`printf '%s\\n' '#!/root/lie/true' 'echo >> /root/lie/told' ${quote(lie)} > /root/lie/sh`, '/root/lie/true');
    const pull = await host.banger(['vm', 'workspace', 'pull', 'box']);
    expect([pull.code, pull.out], lie + pull.err).toEqual([1, '']);
    expect(pull.err, lie).toContain(said);
  }
  // Each was asked for.
  expect(await inGuest('umount /bin/sh; wc -l < /root/lie/told', '/root/lie/true')).toBe(`${lies.length}\n`);
  expect(git('for-each-ref')).toBe(refs);
  expectSound();
});
const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

test('an image without git takes a workspace, and says what a pull would need', async () => {
  await host.ok(['vm', 'delete', 'box']);
  const small = join(host.dir, 'small');
  mkdirSync(small);
  for (const args of [['init', '-q'], ['commit', '-q', '--allow-empty', '-m', 'c']]) execFileSync('git', ['-C', small, ...args], { env: { PATH: process.env['PATH'], ...who } });
  writeFileSync(join(small, 'file'), 'content\n');
  execFileSync('git', ['-C', small, 'add', '.'], { env: { PATH: process.env['PATH'], ...who } });
  await host.ok(['vm', 'run', '-d', '--name', 'bare', '--image', scratchImage(), small]);
  await host.ok(['vm', 'cp', 'bare:/root/small', join(host.dir, 'back')]);
  expect(readFileSync(join(host.dir, 'back', 'file'), 'utf8')).toBe('content\n');
  expect(execFileSync('git', ['-C', join(host.dir, 'back'), 'status', '--porcelain'], { encoding: 'utf8', env: { PATH: process.env['PATH'], ...who } })).toBe('A  file\n');
  for (const verb of ['pull', 'export']) {
    const result = await host.banger(['vm', 'workspace', verb, 'bare']);
    expect([result.code, result.out]).toEqual([1, '']);
    expect(result.err).toContain('needs git in the guest');
  }
  writeFileSync(join(small, 'file'), 'newer\n');
  await host.ok(['vm', 'workspace', 'prepare', 'bare', small]);
});
