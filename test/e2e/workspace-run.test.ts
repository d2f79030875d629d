// `vm run` with a repository as a person uses it: a shell in it, tools set up, a command line that is killed.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeHost, type Host } from '../support/host.ts';
import { repoRoot } from '../support/source-tree.ts';
import { openTerminal } from '../support/terminal.ts';
import { waitFor } from '../support/wait.ts';

let host: Host;
let repo: string;
const who = { GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1', GIT_AUTHOR_NAME: 'Ann', GIT_AUTHOR_EMAIL: 'ann@localhost', GIT_COMMITTER_NAME: 'Ann', GIT_COMMITTER_EMAIL: 'ann@localhost' };
const git = (...args: string[]): string => execFileSync('git', ['-C', repo, ...args], { encoding: 'utf8', env: { PATH: process.env['PATH'], ...who }, stdio: ['ignore', 'pipe', 'pipe'] }).trimEnd();
const container = { postCreateCommand: { first: 'echo one >> /root/set-up; exit 3', second: ['sh', '-c', 'echo two >> /root/set-up'] } };

beforeAll(async () => {
  host = await makeHost();
  repo = join(host.dir, 'app');
  mkdirSync(join(repo, '.devcontainer'), { recursive: true });
  git('init', '-q', '-b', 'main');
  writeFileSync(join(repo, 'file'), 'one\n');
  writeFileSync(join(repo, '.devcontainer', 'devcontainer.json'), `// comment\n${JSON.stringify(container)}\n`);
  git('add', '-A');
  git('commit', '-q', '-m', 'first');
});
afterAll(async () => {
  await host.dispose();
});

test('-d sets up what the repository asks for before it returns; commands then run in the workspace', async () => {
  const run = await host.banger(['vm', 'run', '-d', '--name', 'box', repo]);
  expect(run).toMatchObject({ code: 0, out: 'box\n' });
  expect(run.err).toContain("not all of the repository's tools are set up");
  expect((await host.ok(['vm', 'exec', 'box', '--', 'sh', '-c', 'pwd; sort /root/set-up; grep -c exited /root/.cache/banger/bootstrap.log'])).out).toBe('/root/app\none\ntwo\n1\n');
  const { out: id } = await host.ok(['vm', 'exec', '-d', 'box', '--', 'pwd']);
  expect((await host.ok(['vm', 'exec', 'logs', '-f', 'box', id.trim()])).out).toBe('/root/app\n');
  expect((await host.ok(['vm', 'exec', 'box', '-u', 'nobody', '--', 'pwd'])).out).not.toContain('/root/app');
  expect((await host.ok(['vm', 'exec', '--all', '--', 'pwd'])).out).toBe('box | /root\n');
});

test('a branch of the guest, and untracked files, are there again after --auto-prepare', async () => {
  writeFileSync(join(repo, 'untracked'), 'u\n');
  await host.ok(['vm', 'workspace', 'prepare', 'box', repo, '--branch', 'try', '--include-untracked', '--clean']);
  git('commit', '-q', '--allow-empty', '-m', 'second');
  writeFileSync(join(repo, 'file'), 'two\n');
  const said = await host.banger(['vm', 'exec', 'box', '--', 'true']);
  expect(said.err).toBe(`banger: HEAD of the repository is at ${git('rev-parse', '--short=12', 'HEAD')}, the workspace of box at ${git('rev-parse', '--short=12', 'HEAD~1')}; --auto-prepare brings it\n`);
  const { out } = await host.ok(['vm', 'exec', '--auto-prepare', 'box', '--', 'sh', '-c', 'git symbolic-ref --short HEAD; git log -1 --format=%s; cat file untracked']);
  expect(out).toBe('try\nsecond\ntwo\nu\n');
  expect((await host.banger(['vm', 'exec', 'box', '--', 'true'])).err).toBe('');
});

test('a shell begins in the workspace, and its work comes back when it ends', async () => {
  const terminal = openTerminal(`${join(repoRoot, 'bin', 'banger')} vm run --rm --pull --no-bootstrap --name shell ${repo}`, host.env);
  await terminal.see(/app# /);
  terminal.type('pwd; echo made > result; exit 5\n');
  await terminal.see(/\/root\/app\r+\n/);
  await terminal.see(/came back from shell: banger vm workspace diff shell --repo /);
  expect(await terminal.exit).toBe(5);
  expect(git('show', `${git('for-each-ref', '--format=%(refname)', 'refs/banger/shell/*/worktree')}:result`)).toBe('made');
  expect((await host.banger(['vm', 'show', 'shell'])).code).toBe(1);
  const diff = await host.ok(['vm', 'workspace', 'diff', 'shell', '--repo', repo, '--name-only']);
  expect(diff.out).toBe('result\n');
  await host.ok(['vm', 'workspace', 'apply', 'shell', '--repo', repo]);
  expect(readFileSync(join(repo, 'result'), 'utf8')).toBe('made\n');
  await host.ok(['vm', 'workspace', 'drop', 'shell', '--all', '--repo', repo]);
  expect(git('for-each-ref', 'refs/banger/shell')).toBe('');
});

test('a command line that is killed leaves the VM of --rm --pull, with its work', async () => {
  const cli = host.spawnCli(['vm', 'run', '--rm', '--pull', '--name', 'lost', repo, '--', 'sh', '-c', 'echo made > lost; echo up; exec sleep 600']);
  let out = '';
  cli.stdout!.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  cli.stderr!.resume();
  await waitFor('the command to run', () => out === 'up\n');
  const ended = new Promise((resolve) => cli.once('close', resolve));
  cli.kill('SIGKILL');
  await ended;
  await host.ok(['vm', 'workspace', 'pull', 'lost']);
  expect((await host.ok(['vm', 'workspace', 'diff', 'lost', '--name-only', '--repo', repo])).out).toBe('lost\n');
  expect(existsSync(join(repo, 'lost'))).toBe(false);
  await host.ok(['vm', 'delete', 'lost']);
});
