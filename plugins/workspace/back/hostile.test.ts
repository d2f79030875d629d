// What a guest that means harm can hand over: each is refused with a reason, nothing of it stays, and the host's repository is as before.
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { beforeEach, describe, expect, test } from 'vitest';
import { git } from '../../../test/support/repo-snapshot.ts';
import { importWork } from './import.ts';
import type { GuestWork } from './import.ts';
import { exec, fsck, gitFiles, never } from './testing/guest.ts';
import type { World } from './testing/guest.ts';
import { makePack, objectId, repeatingDelta, tree, zeros } from './testing/packs.ts';
import type { Entry, TreeEntry } from './testing/packs.ts';
import { useWorlds } from './testing/worlds.ts';

const world = useWorlds();
let at: World;
beforeEach(() => {
  at = world();
});

/** Work that a guest would hand over in a pack of these objects, in this order; the last is the working tree. */
function hostile(entries: readonly Entry[], change: Partial<GuestWork> = {}): GuestWork {
  const work = at.work('op-evil');
  writeFileSync(work.packFile, makePack(entries));
  const last = entries.at(-1)!;
  const { indexTree: _, ...rest } = work;
  return { ...rest, head: at.base.commit!, worktreeTree: objectId(last.type, last.body), ...change };
}
async function refusal(work: GuestWork): Promise<{ readonly code: string; readonly message: string }> {
  const before = gitFiles(at.host);
  const error: unknown = await importWork(exec, await at.repo(), work, { signal: never }).catch((cause: unknown) => cause);
  expect(gitFiles(at.host)).toEqual(before);
  fsck(at.host);
  expect(error).toBeInstanceOf(Error);
  return error as { readonly code: string; readonly message: string } & Error;
}

const file = Buffer.from('x\n');
const fileId = objectId('blob', file);
const blob: Entry = { type: 'blob', body: file };
const treeOf = (...entries: readonly TreeEntry[]): Entry => ({ type: 'tree', body: tree(...entries) });

describe('names', () => {
  test.each([
    ['100644', '.git', 'hasDotgit'], ['100644', '.GIT', 'hasDotgit'], ['100644', 'git~1', 'hasDotgit'], ['100644', '.g\xe2\x80\x8cit', 'hasDotgit'], ['100644', '.git. ', 'hasDotgit'],
    ['100644', '..', 'hasDotdot'], ['100644', '.', 'hasDot'], ['100644', 'a/b', 'fullPathname'], ['100644', '', 'badTree'], ['120000', '.gitmodules', 'gitmodulesSymlink'],
    ['0100644', 'x', 'zeroPaddedFilemode'],
  ])('%s %j is refused as %s', async (mode, name, word) => {
    expect(await refusal(hostile([blob, treeOf([mode, name, fileId])]))).toMatchObject({ code: 'workspace.rejected', message: expect.stringContaining(word) as string });
  });

  test('a directory .git in a directory is refused', async () => {
    const inner = treeOf(['100644', 'config', fileId]);
    const middle = treeOf(['40000', '.git', objectId('tree', inner.body)]);
    expect(await refusal(hostile([blob, inner, middle, treeOf(['40000', 'sub', objectId('tree', middle.body)])]))).toMatchObject({ code: 'workspace.rejected' });
  });

  test('names twice, or not in order, are refused', async () => {
    expect(await refusal(hostile([blob, treeOf(['100644', 'a', fileId], ['100644', 'a', fileId])]))).toMatchObject({ code: 'workspace.rejected' });
    expect(await refusal(hostile([blob, treeOf(['100644', 'b', fileId], ['100644', 'a', fileId])]))).toMatchObject({ code: 'workspace.rejected' });
  });

  test('what git says of a name cannot act on a terminal', async () => {
    const { message } = await refusal(hostile([blob, { type: 'commit', body: Buffer.from('tree \x1b[31m\n') }]));
    expect(message).not.toMatch(/[^ -~]/);
  });
});

describe('submodules', () => {
  test.each([
    ['an address that is an option', '[submodule "a"]\n\tpath = a\n\turl = -u./payload\n', 'gitmodulesUrl'],
    ['a path that is an option', '[submodule "a"]\n\tpath = -a\n\turl = /x\n', 'gitmodulesPath'],
    ['a name that leaves .git/modules', '[submodule "../../x"]\n\tpath = a\n\turl = /x\n', 'gitmodulesName'],
    ['an update that is a command', '[submodule "a"]\n\tpath = a\n\turl = /x\n\tupdate = !touch /tmp/x\n', 'gitmodulesUpdate'],
  ])('%s is refused', async (_, text, word) => {
    const modules: Entry = { type: 'blob', body: Buffer.from(text) };
    expect(await refusal(hostile([modules, treeOf(['100644', '.gitmodules', objectId('blob', modules.body)])]))).toMatchObject({ code: 'workspace.rejected', message: expect.stringContaining(word) as string });
  });
});

describe('gaps and wrong kinds', () => {
  const absent = 'ab'.repeat(20);
  const commit = (treeId: string, ...parents: readonly string[]): Entry => ({
    type: 'commit', body: Buffer.from(`tree ${treeId}\n${parents.map((id) => `parent ${id}\n`).join('')}author a <a> 1 +0000\ncommitter a <a> 1 +0000\n\nm\n`),
  });

  test('a tree that is missing', async () => {
    expect(await refusal(hostile([blob], { worktreeTree: absent }))).toMatchObject({ code: 'workspace.rejected', message: expect.stringContaining('missing') });
  });
  test('a file that is missing', async () => {
    expect(await refusal(hostile([treeOf(['100644', 'a', absent])]))).toMatchObject({ code: 'workspace.rejected' });
  });
  test('a parent that is missing', async () => {
    const good = treeOf(['100644', 'a', fileId]);
    const treeId = objectId('tree', good.body);
    const head = commit(treeId, absent);
    expect(await refusal(hostile([blob, head, good], { head: objectId('commit', head.body), worktreeTree: treeId }))).toMatchObject({ code: 'workspace.rejected' });
  });
  test('objects that only lie about in the host\'s repository are brought in whole or not at all', async () => {
    const inner = treeOf(['100644', 'a', absent]);
    const treeId = objectId('tree', inner.body);
    const dir = `${at.host}/.git/objects/${treeId.slice(0, 2)}`;
    const { deflateSync } = await import('node:zlib');
    const { mkdirSync, rmSync } = await import('node:fs');
    mkdirSync(dir, { recursive: true });
    writeFileSync(`${dir}/${treeId.slice(2)}`, deflateSync(Buffer.concat([Buffer.from(`tree ${inner.body.length}\0`), inner.body])));
    const work = hostile([blob, treeOf(['40000', 'd', treeId])]);
    const error: unknown = await importWork(exec, await at.repo(), work, { signal: never }).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code: 'workspace.rejected' });
    expect(git(at.host, 'for-each-ref', 'refs/banger')).toBe('');
    rmSync(dir, { recursive: true });
  });
  test('a tree where a commit should be, and the other way', async () => {
    const good = treeOf(['100644', 'a', fileId]);
    const treeId = objectId('tree', good.body);
    expect(await refusal(hostile([blob, good], { head: treeId }))).toMatchObject({ code: 'workspace.rejected', message: expect.stringContaining('not a commit') });
    expect(await refusal(hostile([blob, good], { indexTree: fileId }))).toMatchObject({ code: 'workspace.rejected', message: expect.stringContaining('not a tree') });
    expect(await refusal(hostile([blob, good], { worktreeTree: at.base.commit! }))).toMatchObject({ code: 'workspace.rejected', message: expect.stringContaining('not a tree') });
  });
  test('a file that is a tree inside', async () => {
    const inner = treeOf(['100644', 'a', fileId]);
    expect(await refusal(hostile([blob, inner, treeOf(['100644', 'x', objectId('tree', inner.body)])]))).toMatchObject({ code: 'workspace.rejected' });
  });
  test('a commit without an author', async () => {
    const good = treeOf(['100644', 'a', fileId]);
    const head: Entry = { type: 'commit', body: Buffer.from(`tree ${objectId('tree', good.body)}\n\nm\n`) };
    expect(await refusal(hostile([blob, good, head], { head: objectId('commit', head.body), worktreeTree: objectId('tree', good.body) }))).toMatchObject({ code: 'workspace.rejected' });
  });
  test.each(['--all', 'HEAD', '', `${'a'.repeat(40)}\n`, 'A'.repeat(40), 'a'.repeat(39), `${'a'.repeat(40)}^{tree}`, `\n${'a'.repeat(40)}`])('the id %j', async (id) => {
    const work = hostile([blob]);
    const repo = await at.repo();
    const before = gitFiles(at.host);
    for (const change of [{ head: id }, { indexTree: id }, { worktreeTree: id }]) {
      await expect(importWork(exec, repo, { ...work, ...change }, { signal: never })).rejects.toMatchObject({ code: 'workspace.rejected' });
    }
    expect(gitFiles(at.host)).toEqual(before);
  });
});

describe('packs', () => {
  test.each([
    ['nothing', () => Buffer.alloc(0)],
    ['noise', () => Buffer.from('PACK and then some noise that is none'.repeat(10))],
    ['a list of files', () => Buffer.from('/etc/passwd\n')],
    ['a pack with a wrong sum', () => { const pack = makePack([blob]); pack[pack.length - 1]! ^= 1; return pack; }],
    ['a pack with more behind it', () => Buffer.concat([makePack([blob]), Buffer.from('more')])],
    ['a pack of 4 billion objects', () => makePack([blob], 0xffffffff)],
    ['a pack of more objects than it has', () => makePack([blob], 2)],
    ['a delta without a base', () => makePack([{ type: 'refDelta', body: repeatingDelta(10, 10, 2), base: 'ab'.repeat(20) }])],
  ])('%s', async (_, make) => {
    const work = at.work('op-evil');
    writeFileSync(work.packFile, make());
    expect(['workspace.rejected', 'workspace.too_large']).toContain((await refusal(work)).code);
  });

  test('a pack that ends early, wherever', async () => {
    at.put('guest', 'a', 'x'.repeat(1000));
    const work = at.work('op-evil');
    const whole = readFileSync(work.packFile);
    for (const size of [1, 12, 20, Math.floor(whole.length / 2), whole.length - 20, whole.length - 1]) {
      writeFileSync(work.packFile, whole);
      truncateSync(work.packFile, size);
      expect(await refusal(work)).toMatchObject({ code: 'workspace.rejected' });
    }
  });

  test('a pack above the limit', async () => {
    const work = hostile([blob, treeOf(['100644', 'a', fileId])]);
    expect(await refusal({ ...work, maxBytes: 10 })).toMatchObject({ code: 'workspace.too_large' });
  });
});

describe('sizes: git may hold 128 MiB at once', () => {
  const big = 300 * 1024 * 1024;

  test('a file beyond that is streamed, so it comes in', async () => {
    const { packed, id } = await zeros(big);
    const { refs } = await importWork(exec, await at.repo(), hostile([{ type: 'blob', body: Buffer.alloc(0), size: big, packed }, treeOf(['100644', 'zeros', id])]), { signal: never });
    expect(git(at.host, 'cat-file', '-s', `${refs.worktree}:zeros`)).toBe(String(big));
  });

  test('a tree beyond that is refused', async () => {
    const { packed } = await zeros(big);
    expect(await refusal(hostile([blob, { type: 'tree', body: Buffer.alloc(0), size: big, packed }]))).toMatchObject({ code: 'workspace.too_large' });
  });

  test('a delta that makes gigabytes of nothing is refused', async () => {
    const body = Buffer.alloc(0x10000, 'x');
    const bomb: Entry = { type: 'refDelta', body: repeatingDelta(body.length, 0x10000, 0x10000), base: objectId('blob', body) };
    expect(await refusal(hostile([{ type: 'blob', body }, bomb, treeOf(['100644', 'a', objectId('blob', body)])]))).toMatchObject({ code: 'workspace.too_large' });
  });

  test('a path longer than any file system takes is refused', async () => {
    const entries: Entry[] = [blob, treeOf(['100644', 'a', fileId])];
    for (let n = 0; n < 2100; n += 1) entries.push(treeOf(['40000', 'd', objectId('tree', entries.at(-1)!.body)]));
    expect(await refusal(hostile(entries))).toMatchObject({ code: 'workspace.rejected', message: expect.stringContaining('path') });
  });

  test('a delta is refused, whatever it makes', async () => {
    const body = Buffer.alloc(100, 'x');
    const delta: Entry = { type: 'refDelta', body: repeatingDelta(body.length, 100, 2), base: objectId('blob', body) };
    expect(await refusal(hostile([{ type: 'blob', body }, delta, treeOf(['100644', 'a', objectId('blob', body)])]))).toMatchObject({ code: 'workspace.rejected', message: expect.stringContaining('deltas') as string });
  });

  test('trees nested without end are refused', async () => {
    const entries: Entry[] = [blob, treeOf(['100644', 'a', fileId])];
    for (let n = 0; n < 40_000; n += 1) entries.push(treeOf(['40000', 'd', objectId('tree', entries.at(-1)!.body)]));
    expect(['workspace.rejected', 'workspace.too_large']).toContain((await refusal(hostile(entries))).code);
  });
});
