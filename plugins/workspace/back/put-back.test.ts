// An apply that fails leaves the host's files as they were, whatever the moment.
import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { git, untouchedState } from '../../../test/support/repo-snapshot.ts';
import { applyWork } from './apply.ts';
import { importWork } from './import.ts';
import { resolveWork } from './list.ts';
import { exec, gitFiles, never } from './testing/guest.ts';
import type { World } from './testing/guest.ts';
import { useWorlds } from './testing/worlds.ts';

const world = useWorlds();

async function pulled(at: World) {
  await importWork(exec, await at.repo(), at.work(), { signal: never });
  return resolveWork(exec, await at.repo(), 'devbox');
}
const read = (at: World, path: string): string => readFileSync(join(at.host, path), 'latin1');
const failure = async (at: World): Promise<unknown> => applyWork(exec, await at.repo(), await resolveWork(exec, await at.repo(), 'devbox')).catch((cause: unknown) => cause);
const lines = (...edits: readonly (readonly [number, string])[]): string => {
  const all = Array.from({ length: 9 }, (_, n) => `line ${n + 1}`);
  for (const [n, text] of edits) all[n - 1] = text;
  return `${all.join('\n')}\n`;
};

/** A host with a filter that must not fail, for all files but attributes; its own edit of `x.s` is in no commit, and the guest has edited another line. */
function filtered(more: (at: World) => void = () => {}): World {
  const at = world({ make: (host) => {
    git(host, 'init', '-q', '-b', 'main');
    mkdirSync(join(host, 'dir'));
    for (const path of ['a.s', 'x.s', 'dir/gone.s', 'dir/deep.s', 'mode.s']) writeFileSync(join(host, path), lines());
    symlinkSync('a.s', join(host, 'link'));
    git(host, 'add', '-A');
    git(host, 'commit', '-q', '-m', 'first');
  } });
  at.put('host', 'x.s', lines([1, 'mine, not committed']));
  chmodSync(join(at.host, 'x.s'), 0o600);
  at.put('guest', 'a.s', lines([5, 'guest']));
  at.put('guest', 'x.s', lines([9, 'guest']));
  more(at);
  return at;
}
/** @param script of the shell; reads what git has of the file, writes the working file */
function smudge(at: World, script: string): void {
  const file = join(at.dir, 'smudge.sh');
  writeFileSync(file, script);
  git(at.host, 'config', 'filter.f.smudge', `sh '${file}' %f`);
  git(at.host, 'config', 'filter.f.clean', 'cat');
  git(at.host, 'config', 'filter.f.required', 'true');
  writeFileSync(join(at.host, '.git/info/attributes'), '*.s filter=f\n');
}
const failing = 'if [ "$1" = x.s ]; then exit 1; fi\ncat\n';
/** git takes a file away, and then runs the filter for the new one. */
const failingOnceGone = (at: World, before = ''): string => `if [ "$1" = x.s ] && ! [ -e '${at.host}/x.s' ]; then ${before} exit 1; fi\ncat\n`;

test('a filter that fails is found out before any file is touched', async () => {
  const at = filtered();
  smudge(at, failing);
  await pulled(at);
  const [state, files] = [untouchedState(at.host), gitFiles(at.host)];
  expect(await failure(at)).toMatchObject({ code: 'operation_failed' });
  expect(untouchedState(at.host)).toEqual(state);
  expect(gitFiles(at.host)).toEqual(files);
});

test('a failure halfway puts back every file, removes what was added, and leaves no trace', async () => {
  const at = filtered((made) => {
    rmSync(join(made.guest, 'dir'), { recursive: true });
    made.put('guest', 'dir', 'a file now\n');
    made.put('guest', 'deep/er/new.s', 'new\n');
    chmodSync(join(made.guest, 'mode.s'), 0o755);
    rmSync(join(made.guest, 'link'));
    symlinkSync('x.s', join(made.guest, 'link'));
    made.put('host', 'a.s', lines([1, 'also mine']));
  });
  smudge(at, failingOnceGone(at));
  writeFileSync(join(at.host, '.git/info/attributes'), '* filter=f\n');
  await pulled(at);
  const withoutTimes = (): string[] => untouchedState(at.host).filter((line) => !/^dir \d+ \d+ $/.test(line)).map((line) => line.replace(/^(\S+ \d+ \d{10})\d{9}/, '$1'));
  const [state, files] = [withoutTimes(), gitFiles(at.host)];
  expect(await failure(at)).toMatchObject({ code: 'operation_failed' });
  expect(withoutTimes()).toEqual(state);
  expect([read(at, 'x.s'), lstatSync(join(at.host, 'x.s')).mode & 0o777, readlinkSync(join(at.host, 'link'))]).toEqual([lines([1, 'mine, not committed']), 0o600, 'a.s']);
  expect([existsSync(join(at.host, 'deep')), lstatSync(join(at.host, 'dir')).isDirectory()]).toEqual([false, true]);
  expect(gitFiles(at.host)).toEqual(files);
});

test('what somebody has written meanwhile is left alone, and the files as they were are kept and named', async () => {
  const at = filtered();
  smudge(at, failingOnceGone(at, `echo later >'${at.host}/a.s';`));
  await pulled(at);
  const error = await failure(at) as { readonly detail: { readonly directory: string } };
  expect(error).toMatchObject({ code: 'operation_failed', message: expect.stringMatching(/a\.s/), detail: { paths: ['a.s'] } });
  expect([read(at, 'a.s'), read(at, 'x.s')]).toEqual(['later\n', lines([1, 'mine, not committed'])]);
  expect(readdirSync(error.detail.directory)).toContain('a.s');
  expect(readFileSync(join(error.detail.directory, 'a.s'), 'utf8')).toBe(lines());
  expect(gitFiles(at.host).filter((name) => name.includes('tmp_objdir'))).toEqual([]);
});

test('with a conflict, a failure leaves the index as it was and unlocked', async () => {
  const at = filtered((made) => {
    made.put('host', 'a.s', lines([5, 'host']));
  });
  smudge(at, failingOnceGone(at));
  await pulled(at);
  const index = readFileSync(join(at.host, '.git/index'));
  expect(await failure(at)).toMatchObject({ code: 'operation_failed' });
  expect([read(at, 'a.s'), read(at, 'x.s')]).toEqual([lines([5, 'host']), lines([1, 'mine, not committed'])]);
  expect(readFileSync(join(at.host, '.git/index')).equals(index)).toBe(true);
  expect(existsSync(join(at.host, '.git/index.lock'))).toBe(false);
});

test.each(['merge-tree', 'diff-tree'])('a conflict needs the index: one that is locked once %s runs is a refusal', async (command) => {
  const at = world();
  for (const where of ['host', 'guest'] as const) at.put(where, 'a', `one\n${where}\nthree\n`);
  at.put('guest', 'b', 'guest\n');
  git(at.host, 'config', 'filter.f.smudge', 'cat');
  const work = await pulled(at);
  const state = untouchedState(at.host);
  const lock = join(at.host, '.git/index.lock');
  const locking = { run: async (...args: Parameters<typeof exec.run>) => {
    if (args[1].includes(command)) writeFileSync(lock, 'somebody');
    return exec.run(...args);
  } };
  expect(await applyWork(locking, await at.repo(), work).catch((cause: unknown) => cause)).toMatchObject({ code: 'busy' });
  expect(untouchedState(at.host)).toEqual(state);
  expect(readFileSync(lock, 'utf8')).toBe('somebody');
});
