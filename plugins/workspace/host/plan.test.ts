import { chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createExec } from '../../../core/exec.ts';
import type { BangerError } from '../../../core/plugin-api.ts';
import { describePlan } from './describe.ts';
import { planWorkspace } from './plan.ts';
import { openRepository, readHead } from './repository.ts';
import { exec, makeWorld, openRepo } from './testing/world.ts';
import type { Repo, World } from './testing/world.ts';

let world: World;
beforeAll(() => { world = makeWorld(); });
afterAll(() => world.close());

const failureOf = (call: Promise<unknown>): Promise<BangerError> => call.then(() => { throw new Error('it did not fail'); }, (error: BangerError) => error);
function simple(): Repo {
  const host = world.repo();
  host.write('f', 'f\n');
  host.commit();
  return host;
}

describe('refuses', () => {
  test.each([
    ['a path that is not there', (): string => '/no/such/path', 'bad_request', /does not exist/],
    ['a file', (): string => { writeFileSync(join(world.dir, 'file'), ''); return join(world.dir, 'file'); }, 'bad_request', /not a directory/],
    ['what is no repository', () => world.dir, 'bad_request', /not in a git repository/],
    ['a bare repository', () => world.repo('bare.git', '--bare').dir, 'bad_request', /bare/],
    ['a git directory', () => join(simple().dir, '.git'), 'bad_request', /not in a working tree/],
  ] as const)('%s', async (_, path, code, message) => {
    const error = await failureOf(world.plan({ dir: path() }));
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
  });

  test.each([
    [{ from: 'HEAD' }, /--branch/],
    [{ branch: 'b', from: 'nothing' }, /no commit "nothing"/],
    [{ branch: 'b', from: '--all' }, /no commit/],
    [{ branch: 'b', from: 'HEAD:f' }, /no commit/],
    [{ branch: 'a..b' }, /name of a branch/],
    [{ branch: '-b' }, /name of a branch/],
    [{ branch: '@{-1}' }, /name of a branch/],
    [{ branch: 'HEAD' }, /name of a branch/],
    [{ guestPath: 'relative' }, /not absolute/],
    [{ guestPath: '/root/../etc' }, /\.\./],
    [{ guestPath: '/etc/x' }, /\/etc/],
    [{ guestPath: '/root/.ssh' }, /\.ssh/],
    [{ guestPath: '/root/.cache/x' }, /\.cache/],
    [{ guestPath: '/home' }, /not a place/],
    [{ guestPath: '/var/lib/x' }, /\/var\/lib/],
  ] as const)('%j', async (options, message) => {
    const error = await failureOf(world.plan(simple(), options));
    expect(error).toMatchObject({ code: 'bad_request', message: expect.stringMatching(message) });
  });

  test('a repository of another user, with the hint of git', async () => {
    const error = await failureOf(openRepository({
      run: (program, args, options) => exec.run(program, args, { ...options, env: { ...options?.env, GIT_TEST_ASSUME_DIFFERENT_OWNER: '1' } }),
    }, simple().dir));
    expect(error).toMatchObject({ code: 'unauthorized', hint: expect.stringMatching(/^git config --global --add safe\.directory /) });
  });

  test('to work without git', async () => {
    expect(await failureOf(openRepository(createExec({ env: { PATH: '/nonexistent' } }), simple().dir))).toMatchObject({ code: 'missing_requirement' });
  });

  test.each([
    ['merge', (host: Repo) => host.git('merge', '-q', 'side')],
    ['rebase', (host: Repo) => host.git('rebase', '-q', 'side')],
    ['cherry-pick', (host: Repo) => host.git('cherry-pick', 'side')],
    ['revert', (host: Repo) => host.git('revert', '--no-edit', 'HEAD~1')],
  ])('a %s in progress', async (what, begin) => {
    const host = simple();
    host.git('checkout', '-q', '-b', 'side');
    host.write('f', 'side\n');
    host.commit('Side');
    host.git('checkout', '-q', 'main');
    for (const text of ['one\n', 'two\n']) {
      host.write('f', text);
      host.commit(text.trim());
    }
    expect(() => begin(host)).toThrow('Command failed');
    expect(await failureOf(world.plan(host))).toMatchObject({ code: 'workspace.in_progress', message: expect.stringMatching(new RegExp(`^A ${what} is in progress`)), hint: expect.stringContaining('--abort') });
    const outer = simple();
    outer.git('-c', 'protocol.file.allow=always', 'submodule', 'add', '-q', simple().dir, 'sub');
    outer.commit();
    writeFileSync(join(outer.dir, '.git/modules/sub/MERGE_HEAD'), '');
    expect(await failureOf(world.plan(outer))).toMatchObject({ code: 'workspace.in_progress' });
  });

  test('an index with conflicts', async () => {
    const host = simple();
    const id = host.git('rev-parse', 'HEAD:f');
    host.gitWith({ input: `100644 ${id} 1\tg\n100644 ${id} 2\tg\n` }, 'update-index', '--index-info');
    expect(await failureOf(world.plan(host))).toMatchObject({ code: 'workspace.in_progress', message: expect.stringContaining('(g)') });
  });

  test('a partial clone without the objects, and asks no remote for them', async () => {
    const origin = simple();
    for (let n = 0; n < 4; n += 1) {
      origin.write('f', `${n}`);
      origin.commit();
    }
    origin.git('config', 'uploadpack.allowFilter', 'true');
    const at = join(world.dir, 'partial');
    origin.git('clone', '-q', '--filter=blob:none', `file://${origin.dir}`, at);
    const host = openRepo(at);
    const objects = host.git('count-objects', '-v');
    const plan = await world.plan(host);
    expect(plan.repo.isPartial).toBe(true);
    expect(await failureOf(world.stage(plan))).toMatchObject({ code: 'unsupported', message: expect.stringContaining('partial clone') });
    expect(await failureOf(world.plan(host, { branch: 'b', from: 'HEAD~2' }))).toMatchObject({ code: 'unsupported' });
    expect(host.git('count-objects', '-v')).toBe(objects);
    host.git('fetch', '-q', '--refetch', '--no-filter');
    expect((await world.prepare(host)).guest.git('status', '--porcelain')).toBe('');
  });
});

describe('lists', () => {
  test('what is on disk of what the index has', async () => {
    const host = world.repo();
    for (const name of ['dir/a', 'dir/b', 'gone', 'becomes-dir', 'linked/x', 'pipe', 'plain']) host.write(name, name);
    host.commit();
    for (const name of ['gone', 'becomes-dir', 'pipe', 'linked']) rmSync(join(host.dir, name), { recursive: true });
    mkdirSync(join(host.dir, 'becomes-dir'));
    symlinkSync('dir', join(host.dir, 'linked'));
    host.write('dir/x', 'not that one');
    await exec.run('mkfifo', [join(host.dir, 'pipe')]);
    chmodSync(join(host.dir, 'plain'), 0o750);
    const plan = await world.plan(host);
    expect(plan.files.map(({ path, kind, mode, size }) => [path, kind, mode & 0o700, size])).toEqual([['dir/a', 'file', 0o600, 5], ['dir/b', 'file', 0o600, 5], ['plain', 'file', 0o700, 5]]);
    expect(plan.notices).toEqual(['Sockets, pipes and devices are not sent: pipe', '2 untracked files are not sent; --include-untracked sends them']);
  });

  test('from any directory of the repository, through a link to it too', async () => {
    const host = simple();
    host.write('deep/er/g', 'g');
    host.commit();
    symlinkSync(join(host.dir, 'deep'), join(world.dir, 'to-deep'));
    const plan = await world.plan({ dir: join(world.dir, 'to-deep/er') });
    expect(plan.repo.root).toBe(host.dir);
    expect(plan.files.map(({ path }) => path)).toEqual(['deep/er/g', 'f']);
  });

  test('twenty thousand files', async () => {
    const host = world.repo();
    const id = host.gitWith({ input: 'x' }, 'hash-object', '-w', '--stdin');
    const paths = Array.from({ length: 20_000 }, (_, n) => `d${n % 200}/f${n}`);
    host.gitWith({ input: paths.map((path) => `100644 ${id}\t${path}\n`).join('') }, 'update-index', '--index-info');
    host.git('checkout-index', '-a', '-q');
    const plan = await world.plan(host);
    expect(plan.files).toHaveLength(20_000);
    expect(plan.files.map(({ path }) => path)).toEqual(paths.toSorted());
  });

  test('in words that are safe to print', async () => {
    const host = simple();
    host.write('\x1b[31m\n\xff', '');
    host.commit();
    const text = describePlan(await world.plan(host, { branch: 'b' }));
    expect(text).toEqual([
      `repository  ${host.dir}`, expect.stringMatching(/^guest path {2}\/root\/repo-\d+$/), 'mode        shallow', `head        ${host.git('rev-parse', 'HEAD')}`, 'branch      b',
      'files       2 files, 2 bytes', '  \\x1b[31m\\x0a\\xff', '  f',
    ]);
  });

  test('stops when it is cancelled', async () => {
    const abort = new AbortController();
    abort.abort();
    const call = planWorkspace(exec, simple().dir, { mode: 'shallow', includeUntracked: false }, { signal: abort.signal });
    expect(await failureOf(call)).toMatchObject({ code: 'cancelled' });
  });
});

describe('a repository', () => {
  test('is told with its identity, and its origin without secrets', async () => {
    const host = simple();
    host.git('config', 'user.name', 'J\u00f6rg "J"');
    host.git('config', 'user.email', 'j@example.org');
    host.git('remote', 'add', 'origin', 'https://token:secret@example.org/a.git');
    host.git('config', 'branch.main.remote', 'origin');
    host.git('config', 'branch.main.merge', 'refs/heads/trunk');
    host.git('update-ref', 'refs/remotes/origin/trunk', 'HEAD');
    const { guest, plan } = await world.prepare(host);
    expect(plan.repo).toMatchObject({ origin: 'https://example.org/a.git', identity: { name: 'Jörg "J"', email: 'j@example.org' } });
    expect(guest.git('remote', '-v')).toBe('origin\thttps://example.org/a.git (fetch)\norigin\thttps://example.org/a.git (push)');
    expect(Buffer.from(guest.git('config', 'user.name'), 'latin1').toString()).toBe('Jörg "J"');
    expect(guest.git('rev-parse', '--abbrev-ref', '@{upstream}')).toBe('origin/trunk');
    expect(guest.read('.git/config')).not.toContain('secret');
  });

  test('may lie in a directory with any name that is UTF-8', async () => {
    const host = world.repo('new\nline: "grüße" \\');
    host.write('f', 'f\n');
    host.commit();
    host.write('f', 'changed\n');
    const { guest, plan } = await world.prepare(host);
    expect(plan.repo.root).toBe(host.dir);
    expect(plan.guestPath).toBe('/root/new_line___gr____e___');
    expect(guest.git('status', '--porcelain')).toBe(' M f');
  });

  test('tells its HEAD wherever the ref is', async () => {
    const host = simple();
    const repo = await openRepository(exec, host.dir);
    const head = host.git('rev-parse', 'HEAD');
    const noGit = { run: () => Promise.reject(new Error('git was run')) };
    expect(await readHead(repo, noGit)).toBe(head);
    host.git('pack-refs', '--all');
    await expect(readHead(repo, noGit)).rejects.toThrow('git was run');
    expect(await readHead(repo, exec)).toBe(head);
    host.git('checkout', '-q', '--detach');
    expect(await readHead(repo, noGit)).toBe(head);
    host.git('checkout', '-q', '--orphan', 'none');
    expect(await readHead(repo, exec)).toBeUndefined();
    const linked = join(world.dir, 'linked-head');
    host.git('worktree', 'add', '-q', '-b', 'linked', linked, 'main');
    expect(await readHead(await openRepository(exec, linked), exec)).toBe(head);
  });
});
