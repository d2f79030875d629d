// Attributes of a guest choose no program of the host: neither filter nor merge driver nor diff driver that the host's own attributes do not choose.
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { git } from '../../../test/support/repo-snapshot.ts';
import { applyWork } from './apply.ts';
import { diffArgs } from './diff.ts';
import { dropWork } from './drop.ts';
import { importWork } from './import.ts';
import { listWork, resolveWork } from './list.ts';
import { exec, never, run } from './testing/guest.ts';
import type { World } from './testing/guest.ts';
import { useWorlds } from './testing/worlds.ts';

const world = useWorlds();

async function pulled(at: World, operation = 'op-aaaaaaaa') {
  await importWork(exec, await at.repo(), at.work(operation), { signal: never });
  return resolveWork(exec, await at.repo(), 'devbox', operation);
}
const apply = async (at: World, operation?: string) => applyWork(exec, await at.repo(), await pulled(at, operation));
const read = (at: World, path: string): string => readFileSync(join(at.host, path), 'latin1');
const ran = (at: World): boolean => existsSync(join(at.dir, 'ran'));

/** Programs that leave a mark, under one name. In a file, because not every name goes through an argument. */
function arm(at: World, name = 'evil', kinds: readonly string[] = ['smudge', 'clean']): void {
  const touch = `touch '${at.dir}/ran'`;
  const quoted = name.replaceAll(/["\\]/g, '\\$&');
  const filter = kinds.map((kind) => `\t${kind} = "${touch}; cat"\n`).join('');
  const text = [
    `[filter "${quoted}"]\n${filter}\trequired = true\n`, `[merge "${quoted}"]\n\tdriver = "${touch}"\n\trecursive = binary\n`,
    `[diff "${quoted}"]\n\ttextconv = "${touch}; cat"\n\tcommand = "${touch};:"\n`, `[diff]\n\texternal = "${touch};:"\n`,
  ].join('');
  writeFileSync(join(at.host, '.git/config'), `${read(at, '.git/config')}${text}`, 'latin1');
}
const everything = (name: string): string => `* filter=${name} merge=${name} diff=${name}\n`;

test.each([
  ['a filter', 'evil', ['smudge', 'clean']], ['a filter that stays', 'evil', ['process']], ['a name with an equals sign', 'e=vil', ['smudge', 'clean']],
  ['a name that is not ASCII', 'b\xc3\xb6se', ['smudge', 'clean']], ['a name that is not UTF-8', 'b\xf6se', ['smudge', 'clean']], ['a name with quotes', String.raw`"e\vil`, ['smudge', 'clean']],
])('nothing of a guest runs %s of the host', async (_, name, kinds) => {
  const at = world();
  arm(at, name, kinds);
  at.put('host', 'a', 'one\ntwo\nthree\nhost\n');
  at.put('host', 'd/e', 'host\n');
  at.put('guest', '.gitattributes', everything(name));
  at.put('guest', 'd/.gitattributes', everything(name));
  at.put('guest', 'a', 'guest\none\ntwo\nthree\n');
  at.put('guest', 'b', 'guest\n');
  at.put('guest', 'd/e', 'guest\n');
  at.put('guest', 'new', 'new\n');
  const work = await pulled(at);
  const repo = await at.repo();
  expect(await listWork(exec, repo)).toHaveLength(1);
  for (const options of [{}, { stat: true }, { nameOnly: true }]) expect(run(at.host, diffArgs(work, options))).toContain('new');
  expect(await applyWork(exec, repo, work)).toMatchObject({ applied: 6, conflicts: ['d/e'] });
  for (const options of [{}, { stat: true }]) run(at.host, diffArgs(work, options));
  await dropWork(exec, repo, { vm: 'devbox', all: true });
  expect([read(at, 'a'), read(at, 'b'), read(at, 'new'), read(at, '.gitattributes')]).toEqual(['guest\none\ntwo\nthree\nhost\n', 'guest\n', 'new\n', everything(name)]);
  expect(ran(at)).toBe(false);
});

test.each(['false', 'true'])('merge.renormalize=%s takes no attributes of the guest', async (value) => {
  const at = world();
  arm(at);
  git(at.host, 'config', 'merge.renormalize', value);
  at.put('guest', '.gitattributes', everything('evil'));
  for (const where of ['host', 'guest'] as const) at.put(where, 'a', `one\n${where}\nthree\n`);
  expect(await apply(at)).toMatchObject({ conflicts: ['a'] });
  expect(ran(at)).toBe(false);
});

test('a symlink or other letters for the file make no difference', async () => {
  const at = world();
  arm(at);
  symlinkSync('* filter=evil', join(at.guest, '.gitattributes'));
  symlinkSync('* filter=evil', join(at.guest, 'd/.GITATTRIBUTES'));
  at.put('guest', 'd/new', 'new\n');
  expect(await apply(at)).toMatchObject({ applied: 3 });
  expect(ran(at)).toBe(false);
});

test('files of the host that changed in the second of the index are not filtered for new attributes', async () => {
  const at = world();
  arm(at);
  const second = Math.floor(Date.now() / 1000) - 10;
  for (const path of ['a', 'b', '.git/index']) utimesSync(join(at.host, path), second, second);
  git(at.host, 'update-index', '--refresh');
  utimesSync(join(at.host, '.git/index'), second, second);
  at.put('guest', '.gitattributes', everything('evil'));
  at.put('host', 'd/e', 'host\n');
  at.put('guest', 'd/e', 'guest\n');
  expect(await apply(at)).toMatchObject({ conflicts: ['d/e'] });
  expect(ran(at)).toBe(false);
});

test('says that the work has attributes, which count from now on', async () => {
  const at = world();
  at.put('guest', '.gitattributes', '*.x text\n');
  at.put('guest', 'new\n/.gitattributes', '*.x text\n');
  expect((await apply(at)).notices).toEqual([String.raw`the work changes .gitattributes, new\x0a/.gitattributes: no filter was chosen by that, but your git goes by it from now on`]);
});

/** A host whose own attributes choose a filter for some files. What git has of them is in small letters. */
function filtered(attributes: string, files: Readonly<Record<string, string>>): World {
  return world({ make: (host) => {
    git(host, 'init', '-q', '-b', 'main');
    for (const [key, command] of [['smudge', 'tr a-z A-Z'], ['clean', 'tr A-Z a-z']]) git(host, 'config', `filter.up.${key!}`, command!);
    writeFileSync(join(host, '.gitattributes'), attributes);
    mkdirSync(join(host, 'd'));
    for (const [path, content] of Object.entries(files)) writeFileSync(join(host, path), content);
    git(host, 'add', '-A');
    git(host, 'commit', '-q', '-m', 'first');
  } });
}
/** The guest has no filters: its files are what git has of them. */
function unfilter(at: World): void {
  git(at.guest, 'config', '--remove-section', 'filter.up');
  git(at.guest, 'rm', '-q', '--cached', '-r', '.');
  git(at.guest, 'reset', '-q', '--hard');
}

test("filters that the host's own attributes choose run, whatever the guest's say", async () => {
  const at = filtered('*.up filter=up\n', { 'x.up': 'X\n', 'd/gone.up': 'GONE\n', 'd/kind.up': 'KIND\n', plain: 'plain\n', file: 'file\n' });
  unfilter(at);
  at.put('guest', '.gitattributes', '* -filter\nplain filter=up\n');
  at.put('guest', 'x.up', 'x\nchanged\n');
  at.put('guest', 'plain', 'changed\n');
  at.put('guest', 'new.up', 'new\n');
  rmSync(join(at.guest, 'd'), { recursive: true });
  at.put('guest', 'd', 'a file now\n');
  rmSync(join(at.guest, 'file'));
  at.put('guest', 'file/x.up', 'deep\n');
  expect(await apply(at)).toMatchObject({ applied: 9, added: 3, deleted: 3, conflicts: [] });
  expect(['x.up', 'new.up', 'file/x.up', 'plain', 'd', '.gitattributes'].map((path) => read(at, path))).toEqual([
    'X\nCHANGED\n', 'NEW\n', 'DEEP\n', 'changed\n', 'a file now\n', '* -filter\nplain filter=up\n',
  ]);
});

test('a filter for all files does not let attributes of the guest choose another', async () => {
  const at = filtered('* filter=up\n.gitattributes -filter\n', { x: 'X\n' });
  arm(at);
  unfilter(at);
  at.put('guest', '.gitattributes', everything('evil'));
  at.put('guest', 'x', 'changed\n');
  at.put('guest', 'd/new', 'new\n');
  expect(await apply(at)).toMatchObject({ applied: 3 });
  expect([read(at, 'x'), read(at, 'd/new'), ran(at)]).toEqual(['CHANGED\n', 'NEW\n', false]);
});

test('a refusal leaves all as it is, also where filters take a part of the work', async () => {
  const at = filtered('*.up filter=up\n', { 'x.up': 'X\n', plain: 'plain\n' });
  unfilter(at);
  at.put('guest', 'x.up', 'changed\n');
  at.put('guest', 'plain', 'changed\n');
  git(at.host, 'update-index', '--assume-unchanged', 'plain');
  at.put('host', 'plain', 'hidden\n');
  await expect(apply(at)).rejects.toMatchObject({ code: 'workspace.would_overwrite', detail: { paths: ['plain'] } });
  expect([read(at, 'x.up'), read(at, 'plain')]).toEqual(['X\n', 'hidden\n']);
});
