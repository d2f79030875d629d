import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, must, type Scenario } from '../scenario.ts';

const person = { GIT_AUTHOR_NAME: 'Smoke', GIT_AUTHOR_EMAIL: 'smoke@example.org', GIT_COMMITTER_NAME: 'Smoke', GIT_COMMITTER_EMAIL: 'smoke@example.org' };
const git = (dir: string, ...args: string[]): string => execFileSync('git', ['-C', dir, ...args], { env: { ...process.env, ...person }, encoding: 'utf8' });

/** Runs `story` with a repository of one commit, and an untracked and an ignored file beside it. */
async function withRepository(story: (repo: string) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(realpathSync(tmpdir()), 'banger-smoke-'));
  const repo = join(dir, 'project');
  try {
    mkdirSync(repo);
    git(repo, 'init', '-q', '-b', 'main');
    writeFileSync(join(repo, 'tracked'), 'committed\n');
    writeFileSync(join(repo, '.gitignore'), 'ignored\n');
    git(repo, 'add', '-A');
    git(repo, 'commit', '-q', '-m', 'Begin');
    for (const name of ['untracked', 'ignored']) writeFileSync(join(repo, name), `${name}\n`);
    await story(repo);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

export const workspace: Scenario = {
  name: 'workspace', kind: 'repo', summary: 'a repository goes in as it is, and edits of the guest come back as a patch and as refs',
  run: (banger) => withRepository(async (repo) => {
    const name = 'smoke-workspace';
    writeFileSync(join(repo, 'tracked'), 'edited\n');
    const dry = await must(banger, 'vm', 'run', repo, '--dry-run');
    expect(dry.includes('tracked') && !/^\s*untracked$/m.test(dry), `unexpected plan ${JSON.stringify(dry)}`);
    expect(await must(banger, 'vm', 'run', '--rm', repo, '--', 'sh', '-c', 'cat tracked; ls') === 'edited\ntracked\n', 'the repository is not in the guest as it is');
    await must(banger, 'vm', 'run', '-d', '--name', name);
    await must(banger, 'vm', 'workspace', 'prepare', name, repo, '--include-untracked');
    expect(await must(banger, 'vm', 'exec', name, '--', 'sh', '-c', 'pwd; cat /root/repo/untracked; ls') === '/root/project\nuntracked\ntracked\nuntracked\n', 'no untracked file, or an ignored one');
    await must(banger, 'vm', 'exec', name, '--', 'sh', '-c', 'echo guest > tracked; echo new > made');
    expect((await must(banger, 'vm', 'workspace', 'export', name)).includes('+guest\n'), 'the patch lacks the edit');
    await must(banger, 'vm', 'workspace', 'pull', name);
    expect(readFileSync(join(repo, 'tracked'), 'utf8') === 'edited\n' && !existsSync(join(repo, 'made')), 'a pull touched the working tree');
    const refs = git(repo, 'for-each-ref', '--format=%(refname)', `refs/banger/${name}`).trim().split('\n');
    const worktree = refs.find((ref) => ref.endsWith('/worktree'));
    expect(worktree !== undefined && git(repo, 'show', `${worktree}:made`) === 'new\n', `the work is not in ${refs.join(' ')}`);
    git(repo, 'commit', '-q', '-a', '-m', 'Edit');
    const stale = await banger('vm', 'exec', name, '--', 'true');
    expect(stale.code === 0 && /HEAD/.test(stale.err), 'no word of a HEAD that moved', stale);
    await must(banger, 'vm', 'delete', name);
    git(repo, 'fsck', '--full');
  }),
};

export const workspaceRefusals: Scenario = {
  name: 'workspace_refusals', kind: 'repo', summary: 'what cannot go in, and tools without a network, are refused before there is a VM',
  run: (banger) => withRepository(async (repo) => {
    const refused = async (what: string, ...args: string[]): Promise<void> => {
      const outcome = await banger('vm', 'run', '--name', 'smoke-refused', ...args);
      expect(outcome.code === 2 && outcome.err.includes(what), `vm run ${args.join(' ')} was not refused for ${what}`, outcome);
    };
    await refused('does not exist', join(repo, 'missing'), '--', 'true');
    await refused('--branch', repo, '--from', 'HEAD', '--', 'true');
    writeFileSync(join(repo, '.tool-versions'), 'nodejs 22\n');
    git(repo, 'add', '.tool-versions');
    await refused('--no-bootstrap', '-d', '--network', 'none', repo);
    const gone = await banger('vm', 'show', 'smoke-refused');
    expect(gone.code === 1, 'a refused run made a VM', gone);
    expect(await must(banger, 'vm', 'run', '--rm', '--no-bootstrap', '--network', 'none', repo, '--', 'cat', '.tool-versions') === 'nodejs 22\n', '--no-bootstrap does not proceed');
  }),
};
