// Second stages laid over the first, other modes and branches, and submodules.
import { rmSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fingerprint, makeWorld, openRepo } from './testing/world.ts';
import type { Repo, World } from './testing/world.ts';

let world: World;
beforeAll(() => { world = makeWorld(); });
afterAll(() => world.close());

const log = (repo: Repo, ...args: readonly string[]): string => repo.git('log', '--format=%H %s', ...args);
const fsck = (repo: Repo): string => repo.git('fsck', '--full', '--strict', '--no-dangling');
const packBytes = (staged: { readonly bases: readonly string[]; readonly git: readonly string[] }): number =>
  staged.git.filter((path) => path.endsWith('.pack')).reduce((sum, path) => sum + statSync(join(staged.bases[0]!, path)).size, 0);

/** So many commits more on the branch, each of a file; made at once. */
function history(count: number, host = world.repo()): Repo {
  const branch = host.git('symbolic-ref', 'HEAD');
  const isNew = host.git('for-each-ref', branch) === '';
  const commits = Array.from({ length: count }, (_, n) => [
    `commit ${branch}`, 'committer Ada <ada@example.org> 1700000000 +0000', 'data <<END', `Commit ${n}`, 'END', '',
    ...(n === 0 && !isNew ? [`from ${branch}^0`] : []), `M 100644 inline f${n % 3}`, 'data <<END', `${n} of ${count}`, 'END', '',
  ].join('\n'));
  host.gitWith({ input: commits.join('') }, 'fast-import', '--quiet');
  host.git('reset', '-q', '--hard');
  return host;
}

/** Lays the next stage over the guest's checkout. */
async function again(host: Repo, first: Awaited<ReturnType<World['prepare']>>, options?: Parameters<World['plan']>[1]) {
  const before = fingerprint(host.dir);
  const staged = await world.stage(await world.plan(host, options), first.staged.have);
  expect(fingerprint(host.dir)).toEqual(before);
  world.land(staged, first.guest.dir);
  expect(fsck(first.guest)).toBe('');
  for (const args of [['status', '--porcelain=v2', '-uno'], ['diff', '--cached'], ['diff'], ['ls-files', '-s']]) expect(first.guest.git(...args)).toBe(host.git(...args));
  return { ...first, staged };
}

describe('a second stage', () => {
  test('sends no object when nothing has changed', async () => {
    const host = history(12);
    const first = await world.prepare(host);
    const { staged } = await again(host, first);
    expect(packBytes(staged)).toBe(0);
    expect(staged.have).toEqual(first.staged.have);
  });

  test('sends what is new, and remembers both', async () => {
    const host = history(12);
    host.write('big', Array.from({ length: 20_000 }, (_, n) => String(n * 7919)).join(' '));
    host.commit('Big');
    const first = await world.prepare(host);
    history(2, host);
    host.write('staged', 'staged\n');
    host.git('add', 'staged');
    host.write('f0', 'unstaged\n');
    const second = await again(host, first);
    expect(packBytes(second.staged)).toBeLessThan(3000);
    expect(packBytes(first.staged)).toBeGreaterThan(30_000);
    expect(log(second.guest)).toBe(log(host, '-12'));
    const third = await again(host, second);
    expect(Object.keys(third.staged.have['']!.commits)).toHaveLength(12);
    history(1, host);
    await again(host, third);
  });

  test('goes back to an older commit, and down from there', async () => {
    const host = history(30);
    const first = await world.prepare(host);
    host.git('checkout', '-q', '-b', 'older', 'HEAD~5');
    const second = await again(host, first);
    expect(log(second.guest)).toBe(log(host, '-10'));
    expect(log(second.guest, 'main')).toBe(log(host, '-15', 'main'));
    host.git('checkout', '-q', 'main~20');
    const third = await again(host, second);
    expect(log(third.guest)).toBe(log(host));
  });

  test('knows a rewritten history, even when its old commits are gone from the host', async () => {
    const host = history(12);
    const first = await world.prepare(host);
    host.write('f0', 'amended\n');
    host.git('commit', '-q', '-a', '--amend', '-m', 'Amended');
    host.git('reflog', 'expire', '--expire=all', '--all');
    host.git('gc', '-q', '--prune=now');
    const second = await again(host, first);
    expect(log(second.guest)).toBe(log(host, '-10'));
    expect(second.guest.git('cat-file', '-t', first.staged.headCommit!)).toBe('commit');
  });

  test('makes a shallow history whole, and a whole one stays so', async () => {
    const host = history(25);
    host.git('tag', '-a', 'v1', '-m', 'One', 'HEAD~20');
    host.git('branch', 'side', 'HEAD~15');
    const first = await world.prepare(host);
    expect(first.guest.git('rev-parse', '--is-shallow-repository')).toBe('true');
    const whole = await again(host, first, { mode: 'full_copy' });
    expect(log(whole.guest, '--all')).toBe(log(host, '--all'));
    expect(whole.guest.git('describe')).toBe(host.git('describe'));
    history(3, host);
    const shallow = await again(host, whole);
    expect(log(shallow.guest)).toBe(log(host));
    expect(packBytes(shallow.staged)).toBeLessThan(3000);
  });
});

describe('modes', () => {
  test('full_copy has all branches, tags and remote branches', async () => {
    const origin = history(14);
    const at = join(world.dir, 'full');
    origin.git('clone', '-q', `file://${origin.dir}`, at);
    const host = openRepo(at);
    host.git('checkout', '-q', '-b', 'gr\u00c3\u00bc\u00c3\u009fe'.replaceAll(/[\u0080-\u00ff]+/g, (bytes) => Buffer.from(bytes, 'latin1').toString('utf8')));
    host.git('tag', '-a', 'annotated', '-m', 'Text', 'HEAD~3');
    host.git('tag', 'of-a-tree', 'HEAD^{tree}');
    host.git('pack-refs', '--all');
    const { guest, plan } = await world.prepare(host, { mode: 'full_copy' });
    expect(plan.headBranch).toBe('grüße');
    expect(fsck(guest)).toBe('');
    const refs = (repo: Repo): string => repo.git('for-each-ref', '--format=%(refname) %(objectname) %(symref)', 'refs/heads', 'refs/tags', 'refs/remotes');
    expect(refs(guest)).toBe(refs(host));
    expect(log(guest)).toBe(log(host));
    expect(guest.git('rev-parse', '--is-shallow-repository')).toBe('false');
  });

  test('metadata has the history and the index, and no files', async () => {
    const host = history(4);
    const { guest, staged, plan } = await world.prepare(host, { mode: 'metadata' });
    expect(plan.files).toEqual([]);
    expect(staged.files).toEqual([]);
    expect(guest.git('status', '--porcelain')).toBe(' D f0\n D f1\n D f2');
    expect(fsck(guest)).toBe('');
    guest.git('checkout', '.');
    expect(guest.git('status', '--porcelain')).toBe('');
    expect(guest.gitWith({ env: { GIT_OBJECT_DIRECTORY: staged.objectsDir } }, 'ls-tree', staged.baseTree)).toBe('');
  });

  test('untracked files go along when asked for, ignored ones never', async () => {
    const host = history(2);
    host.write('.gitignore', '*.o\n');
    host.commit();
    host.write('.git/info/exclude', '*.own');
    for (const name of ['new \xff', 'dir/new', 'x.o', 'x.own']) host.write(name, name);
    const inner = world.repo(`${host.dir.slice(world.dir.length + 1)}/inner`);
    inner.write('f', 'f');
    inner.commit();
    const without = await world.prepare(host);
    expect(without.plan.notices).toEqual(['2 untracked files are not sent; --include-untracked sends them']);
    expect(without.guest.git('status', '--porcelain')).toBe('');
    const before = fingerprint(host.dir);
    const { guest, staged, plan } = await world.prepare(host, { includeUntracked: true });
    expect(fingerprint(host.dir)).toEqual(before);
    expect(plan.notices).toEqual(['inner is a repository of its own and is not sent']);
    expect(plan.files.map(({ path }) => path)).toEqual(['.gitignore', 'dir/new', 'f0', 'f1', 'new \xff']);
    expect(staged.files).toEqual(plan.files);
    expect(guest.git('status', '--porcelain', '-z', '-uall').split('\0')).toEqual(['?? dir/new', '?? new \xff', '']);
    guest.write('x.own', '');
    guest.git('add', '-A');
    expect(guest.git('write-tree')).toBe(staged.baseTree);
    expect(guest.git('fsck')).toBe('');
  });
});

test('the base tree is what the guest would add before it did anything', async () => {
  const host = history(3);
  for (const name of ['to-link', 'to-dir', 'to-run', 'dir/a', 'dir/b', 'same', 'link-to-file']) host.write(name, name);
  host.git('-c', 'protocol.file.allow=always', 'submodule', 'add', '-q', history(2).dir, 'sub');
  rmSync(join(host.dir, 'link-to-file'));
  symlinkSync('same', join(host.dir, 'link-to-file'));
  host.commit();
  for (const name of ['to-link', 'to-dir', 'dir', 'link-to-file']) rmSync(join(host.dir, name), { recursive: true });
  symlinkSync('same', join(host.dir, 'to-link'));
  for (const name of ['to-dir/x', 'to-dir/y/z', 'dir', 'link-to-file', 'intended', 'new \xff\n']) host.write(name, `now ${name}`);
  host.write('to-run', 'to-run', 0o755);
  host.git('add', '-N', 'intended');
  openRepo(join(host.dir, 'sub')).commit('Moved on');
  const before = fingerprint(host.dir);
  for (const includeUntracked of [false, true]) {
    const { guest, staged } = await world.prepare(host, { includeUntracked });
    expect(fingerprint(host.dir)).toEqual(before);
    guest.git('add', '-A');
    expect(guest.git('write-tree')).toBe(staged.baseTree);
    const tree = guest.git('ls-tree', '-r', '--name-only', '-z', staged.baseTree).split('\0').slice(0, -1);
    expect(tree.filter((path) => path !== '.gitmodules' && path !== 'sub' && !/^f\d$/.test(path)))
      .toEqual(includeUntracked ? ['dir', 'intended', 'link-to-file', 'new \xff\n', 'same', 'to-dir/x', 'to-dir/y/z', 'to-link', 'to-run'] : ['intended', 'link-to-file', 'same', 'to-link', 'to-run']);
    expect(guest.git('rev-parse', `${staged.baseTree}:sub`)).toBe(openRepo(join(host.dir, 'sub')).git('rev-parse', 'HEAD'));
    expect(host.gitWith({ env: { GIT_ALTERNATE_OBJECT_DIRECTORIES: staged.objectsDir } }, 'rev-list', '--objects', '--quiet', staged.baseTree)).toBe('');
  }
});

describe('a branch for the guest', () => {
  test('begins at HEAD with the uncommitted changes', async () => {
    const host = history(3);
    host.write('f0', 'changed\n');
    const { guest, plan } = await world.prepare(host, { branch: 'task/one' });
    expect(plan.needsCheckout).toBe(false);
    expect(guest.git('branch', '--list')).toBe('* task/one');
    expect(guest.git('status', '--porcelain')).toBe(' M f0');
  });

  test('from another commit has the files of that commit', async () => {
    const host = history(6);
    host.write('run', 'x', 0o755);
    host.write('sub/deep', 'deep\n');
    host.commit('Seventh');
    host.write('f0', 'changed\n');
    host.write('untracked', 'x');
    const before = fingerprint(host.dir);
    const { guest, plan, staged } = await world.prepare(host, { branch: 'old', from: 'HEAD~1', includeUntracked: true });
    expect(fingerprint(host.dir)).toEqual(before);
    expect(plan.notices).toEqual(['The files are those of HEAD~1: uncommitted changes and untracked files stay on the host']);
    expect(plan.files.map(({ path, size }) => [path, size])).toEqual(staged.files.map(({ path, size }) => [path, size]));
    expect(guest.git('status', '--porcelain=v2', '--branch')).toBe(`# branch.oid ${host.git('rev-parse', 'HEAD~1')}\n# branch.head old`);
    expect(guest.git('ls-files', '-s')).toBe(host.git('ls-tree', '-r', 'HEAD~1').replaceAll(' blob ', ' ').replaceAll('\t', ' 0\t'));
    expect(staged.baseTree).toBe(host.git('rev-parse', 'HEAD~1^{tree}'));
    expect(fsck(guest)).toBe('');
  });
});

describe('submodules', () => {
  function nested(): { host: Repo; outer: Repo; inner: Repo } {
    const [innerOrigin, outerOrigin, host] = [history(3), history(12), history(2)];
    const add = (repo: Repo, url: string, ...path: readonly string[]): string => repo.git('-c', 'protocol.file.allow=always', 'submodule', 'add', '-q', ...path.slice(1), url, path[0]!);
    add(outerOrigin, innerOrigin.dir, 'in ner');
    outerOrigin.commit('Inner');
    add(host, outerOrigin.dir, 'libs/outer', '--name', 'out"er');
    add(host, innerOrigin.dir, 'unused');
    host.git('-c', 'protocol.file.allow=always', 'submodule', 'update', '-q', '--init', '--recursive');
    host.commit('Outer');
    host.git('submodule', 'deinit', '-q', 'unused');
    return { host, outer: openRepo(join(host.dir, 'libs/outer')), inner: openRepo(join(host.dir, 'libs/outer/in ner')) };
  }

  test('are carried at their commits, one inside of another', async () => {
    const { host, outer, inner } = nested();
    outer.write('f0', 'outer changed\n');
    inner.write('f1', 'inner staged\n');
    inner.git('add', 'f1');
    const before = fingerprint(host.dir);
    const { guest, plan, staged } = await world.prepare(host);
    expect(fingerprint(host.dir)).toEqual(before);
    expect(plan.submodules.map(({ path, gitPath }) => [path, gitPath])).toEqual([
      ['libs/outer', '.git/modules/out"er'], ['libs/outer/in ner', '.git/modules/out"er/modules/in ner'],
    ]);
    expect(plan.files.map(({ path }) => path)).toEqual(plan.files.map(({ path }) => path).toSorted());
    expect(guest.git('status', '--porcelain=v2', '-uno')).toBe(host.git('status', '--porcelain=v2', '-uno'));
    expect(guest.git('submodule', 'status', '--recursive').split('\n').map((line) => line.split(' (')[0]))
      .toEqual(host.git('submodule', 'status', '--recursive').split('\n').map((line) => line.split(' (')[0]));
    const guestOuter = openRepo(join(guest.dir, 'libs/outer'));
    const guestInner = openRepo(join(guest.dir, 'libs/outer/in ner'));
    for (const [a, b] of [[guest, host], [guestOuter, outer], [guestInner, inner]] as const) {
      expect(fsck(a)).toBe('');
      expect(log(a)).toBe(log(b, '-10'));
      expect(a.git('status', '--porcelain=v2')).toBe(b.git('status', '--porcelain=v2'));
    }
    expect(Object.keys(staged.have)).toEqual(['', 'libs/outer', 'libs/outer/in ner']);
    guestInner.commit('In the guest');
  });

  test('send only what is new the second time', async () => {
    const { host, inner } = nested();
    const first = await world.prepare(host);
    inner.write('f2', 'new\n');
    inner.commit('New');
    const staged = await world.stage(await world.plan(host), first.staged.have);
    expect(staged.git.filter((path) => path.endsWith('.pack'))).toEqual([expect.stringMatching(/^\.git\/modules\/out"er\/modules\/in ner\/objects\/pack\/pack-[0-9a-f]+\.pack$/)]);
    world.land(staged, first.guest.dir);
    expect(first.guest.git('status', '--porcelain=v2')).toBe(host.git('status', '--porcelain=v2'));
    expect(fsck(openRepo(join(first.guest.dir, 'libs/outer/in ner')))).toBe('');
  });

  test('whose .git leads nowhere stay empty, and are named', async () => {
    const { host } = nested();
    rmSync(join(host.dir, '.git/modules/out"er'), { recursive: true });
    const { plan } = await world.prepare(host).catch(async () => ({ plan: await world.plan(host) }));
    expect(plan.submodules).toEqual([]);
    expect(plan.notices).toEqual(['Submodule libs/outer stays empty: its .git leads to no repository']);
  });
});
