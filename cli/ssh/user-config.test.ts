import { chmodSync, chownSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { listedUser, readUserConfig, replaceUserConfig, userConfig } from './user-config.ts';

const isRoot = process.getuid?.() === 0;
let home: string;
let file: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'banger-home-'));
  file = join(home, '.ssh', 'config');
});
afterEach(() => {
  rmSync(home, { recursive: true });
});
const modeOf = (path: string): number => statSync(path).mode & 0o7777;

test('what is missing is made, for its owner only', () => {
  expect(readUserConfig(file)).toBeUndefined();
  replaceUserConfig(file, 'text');
  expect([readUserConfig(file), modeOf(file), modeOf(join(home, '.ssh'))]).toEqual(['text', 0o600, 0o700]);
  expect(readdirSync(join(home, '.ssh'))).toEqual(['config']);
});

test('bytes come back as they went', () => {
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  mkdirSync(join(home, '.ssh'));
  writeFileSync(file, bytes);
  replaceUserConfig(file, readUserConfig(file));
  expect(readFileSync(file).equals(bytes)).toBe(true);
});

test('mode and owner stay, and those of the directory', ({ skip }) => {
  mkdirSync(join(home, '.ssh'), { mode: 0o755 });
  writeFileSync(file, 'a');
  chmodSync(file, 0o640);
  if (isRoot) chownSync(file, 1234, 5678);
  replaceUserConfig(file, 'b');
  expect([modeOf(file), modeOf(join(home, '.ssh'))]).toEqual([0o640, 0o755]);
  skip(!isRoot, 'only root can own files as somebody else');
  expect([statSync(file).uid, statSync(file).gid]).toEqual([1234, 5678]);
});

describe('a link', () => {
  test('stays one, and what it leads to is replaced', () => {
    mkdirSync(join(home, '.ssh'));
    mkdirSync(join(home, 'dotfiles'));
    writeFileSync(join(home, 'dotfiles', 'ssh'), 'a', { mode: 0o644 });
    symlinkSync('../dotfiles/middle', file);
    symlinkSync('ssh', join(home, 'dotfiles', 'middle'));
    replaceUserConfig(file, 'b');
    expect([lstatSync(file).isSymbolicLink(), readFileSync(join(home, 'dotfiles', 'ssh'), 'utf8'), modeOf(file)]).toEqual([true, 'b', 0o644]);
    expect([readdirSync(join(home, '.ssh')), readdirSync(join(home, 'dotfiles'))]).toEqual([['config'], ['middle', 'ssh']]);
  });

  test('to nothing gets its file', () => {
    mkdirSync(join(home, '.ssh'));
    symlinkSync('../ssh-config', file);
    replaceUserConfig(file, 'b');
    expect([lstatSync(file).isSymbolicLink(), readFileSync(join(home, 'ssh-config'), 'utf8')]).toEqual([true, 'b']);
  });

  test('in a circle is refused', () => {
    mkdirSync(join(home, '.ssh'));
    symlinkSync('config', file);
    expect(() => replaceUserConfig(file, 'b')).toThrow(/leads in a circle/);
  });
});

test('removed is only the file', () => {
  replaceUserConfig(file, 'a');
  replaceUserConfig(file, undefined);
  expect([existsSync(file), existsSync(join(home, '.ssh'))]).toEqual([false, true]);
});

test.each([
  ['a directory in its place', () => mkdirSync(file, { recursive: true })],
  ['a file in place of the directory', () => writeFileSync(join(home, '.ssh'), '')],
])('with %s nothing is changed, and the error says so', (_, spoil) => {
  spoil();
  expect(() => replaceUserConfig(file, 'b')).toThrow(/not a regular file|cannot be changed/);
  expect(readdirSync(home)).toEqual(['.ssh']);
});

describe('the home', () => {
  const ssh = (dir: string): string => join(dir, '.ssh', 'config');
  test('is HOME; ssh itself goes by the list of users', () => {
    expect(userConfig({ HOME: home }, { uid: 1, homedir: '/home/me' })).toEqual({ file: ssh(home), fileOfSsh: ssh('/home/me') });
    expect(userConfig({ HOME: home }, { uid: 1, homedir: home })).toEqual({ file: ssh(home) });
  });
  test.each([[undefined], ['relative'], ['']])('is that of the list when HOME is %j', (value) => {
    expect(userConfig({ HOME: value }, { uid: 1, homedir: '/home/me' })).toEqual({ file: ssh('/home/me') });
  });
  test("is root's own when HOME is another user's", ({ skip }) => {
    skip(!isRoot, 'only root can give a directory away');
    chownSync(home, 1234, 1234);
    expect(userConfig({ HOME: home }, { uid: 0, homedir: '/root' })).toEqual({ file: ssh('/root') });
    expect(userConfig({ HOME: home }, { uid: 1234, homedir: home })).toEqual({ file: ssh(home) });
  });
  test('is HOME for a user that the list does not know', () => {
    const user = listedUser(() => { throw new Error('uv_os_get_passwd returned ENOENT'); });
    expect(userConfig({ HOME: user.homedir }, user)).toEqual({ file: ssh(user.homedir) });
  });
});
