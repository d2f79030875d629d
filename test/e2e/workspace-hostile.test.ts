// Workspaces when something goes wrong: a part is killed half-way, the guest has no git, the guest lies.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeHost, type Host } from '../support/host.ts';
import { scratchImage } from '../support/scratch-image.ts';
import { waitFor } from '../support/wait.ts';

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
  host = await makeHost({ config: '[vm_defaults]\nvcpu = 1\nmemory_mib = 512\ninit = "agent"\n[plugins.workspace]\nmax_pull_mib = 16\n' });
  repo = join(host.dir, 'big');
  mkdirSync(repo);
  git('init', '-q', '-b', 'main');
  // So large that a prepare can be met half-way.
  for (let n = 0; n < 16; n += 1) writeFileSync(join(repo, `file${n}`), randomBytes(4_000_000));
  git('add', '.');
  git('commit', '-qm', 'first');
  await host.ok(['vm', 'run', '-d', '--name', 'box']);
});
afterAll(async () => {
  await host.dispose();
});

const inGuest = async (script: string): Promise<string> => (await host.ok(['vm', 'exec', 'box', '--guest-path', '/root', '--', 'sh', '-c', script])).out;
/** A prepare whose files are on their way. */
async function begunPrepare() {
  const child = host.spawnCli(['vm', 'workspace', 'prepare', 'box', repo, '--force']);
  const ended = new Promise<number | null>((resolve) => { child.on('close', resolve); });
  child.stderr!.resume();
  await waitFor('the draft in the guest', async () => (await inGuest('ls -A /root; ls -A /root/big 2>/dev/null; true')).includes('.banger-copy-'));
  return { child, ended };
}

test('a killed command line leaves a prepare that goes on or is done again', async () => {
  const { child, ended } = await begunPrepare();
  child.kill('SIGKILL');
  await ended;
  await host.ok(['vm', 'workspace', 'prepare', 'box', repo]);
  expect(await inGuest('cd big && git status --porcelain && git fsck --no-dangling 2>&1')).toBe('');
  expectSound();
  await inGuest('rm -rf /root/big');
});

test('a killed daemon leaves nothing half-written, and a retry works', async () => {
  const { ended } = await begunPrepare();
  await host.killDaemon();
  expect(await ended).not.toBe(0);
  await host.startDaemon();
  await waitFor('the leftovers to go', async () => {
    const id = (await host.vm('box')).id;
    return !readdirSync(join(host.stateDir, 'vms', id, 'workspace')).some((name) => name.startsWith('staging'));
  });
  await host.ok(['vm', 'workspace', 'prepare', 'box', repo]);
  expect(await inGuest('cd big && git status --porcelain && git fsck --no-dangling 2>&1; ls -A /root | grep -c banger-copy; true')).toBe('0\n');
  expectSound();
  expect((await host.banger(['doctor', '--leaks'])).out).not.toContain('workspace');
});

test('a killed daemon during a pull leaves the repository sound, and a retry works', async () => {
  await inGuest('cd big && head -c 6000000 /dev/urandom > work');
  const child = host.spawnCli(['vm', 'workspace', 'pull', 'box']);
  const ended = new Promise<number | null>((resolve) => { child.on('close', resolve); });
  child.stderr!.resume();
  const id = (await host.vm('box')).id;
  await waitFor('the pack to come', () => readdirSync(join(host.stateDir, 'vms', id, 'workspace')).includes('staging-pull'));
  await host.killDaemon();
  expect(await ended).not.toBe(0);
  await host.startDaemon();
  await host.ok(['vm', 'workspace', 'pull', 'box']);
  expect(git('for-each-ref', '--format=%(refname)', 'refs/banger').split('\n').length).toBe(4);
  expectSound();
});

test('work that is larger than the limit is refused, and a killed VMM ends a pull with an error', async () => {
  await inGuest('cd big && head -c 20000000 /dev/urandom > huge');
  const large = await host.banger(['vm', 'workspace', 'pull', 'box']);
  expect(large).toMatchObject({ code: 1, out: '' });
  expect(large.err).toContain('16 MiB');
  await inGuest('cd big && rm huge && sync');
  const child = host.spawnCli(['vm', 'workspace', 'pull', 'box']);
  const ended = new Promise<number | null>((resolve) => { child.on('close', resolve); });
  child.stderr!.resume();
  const { id, process: vmm } = await host.vm('box');
  await waitFor('the pull to begin', () => readdirSync(join(host.stateDir, 'vms', id, 'workspace')).includes('staging-pull'));
  process.kill(vmm!.pid, 'SIGKILL');
  expect(await ended).toBe(1);
  expectSound();
  await host.ok(['vm', 'start', 'box']);
  await host.ok(['vm', 'workspace', 'pull', 'box']);
  expectSound();
});

test('a guest whose git lies writes nothing', async () => {
  const lies = [
    'echo "banger-work 1 - - ../../../etc/passwd"', 'echo "banger-work 1 - - $(printf %040d 0)"', 'cat /dev/zero', 'exit 0',
    `printf 'banger-work 1 - - %s\\n' ${'f'.repeat(40)}; printf 'PACK\\0\\0\\0\\002\\377\\377\\377\\377'; head -c 100000 /dev/urandom`,
  ];
  const refs = git('for-each-ref');
  for (const lie of lies) {
    // What the image calls git and sh is the guest's: the daemon asks for sh.
    await inGuest(`mkdir -p /root/lie && printf '%s\\n' '#!/bin/dash' ${quote(lie)} > /root/lie/sh && chmod 755 /root/lie/sh && cp -n /usr/bin/sh /root/lie/real; mount --bind /root/lie/sh /usr/bin/sh`);
    const pull = await host.banger(['vm', 'workspace', 'pull', 'box']);
    expect([pull.code, pull.out], lie + pull.err).toEqual([1, '']);
    expect(pull.err).not.toContain('internal error');
    await host.ok(['vm', 'exec', 'box', '--guest-path', '/', '--', 'umount', '/usr/bin/sh']);
  }
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
