import { homedir } from 'node:os';
import { expect, test } from 'vitest';
import { fileSyncConfig } from './schema.ts';

const good = { host: '~/a', guest: '~/a' };
const problemsOf = (entry: object): string[] => {
  const result = fileSyncConfig.safeParse({ entries: [good, good, { ...good, ...entry }] });
  return result.success ? [] : result.error.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`);
};

test.each([
  [{ host: '' }, 'entries.2.host is empty'],
  [{ host: 'notes' }, 'entries.2.host is relative; begin it with ~/ or /'],
  [{ host: './notes' }, 'entries.2.host is relative; begin it with ~/ or /'],
  [{ host: '~/../other/notes' }, 'entries.2.host must not hold ..'],
  [{ host: `${homedir()}/a/../../../etc/shadow` }, 'entries.2.host must not hold ..'],
  [{ host: '~root/notes' }, 'entries.2.host names the home of another user; only ~/ is known'],
  [{ host: '/etc/shadow' }, `entries.2.host lies outside of the home ${homedir()}`],
  [{ host: `${homedir()}-other/x` }, `entries.2.host lies outside of the home ${homedir()}`],
  [{ host: '~/a\0b' }, 'entries.2.host holds a NUL character'],
  [{ guest: '' }, 'entries.2.guest is empty'],
  [{ guest: '.netrc' }, 'entries.2.guest is relative; begin it with ~/ or /'],
  [{ guest: '~/../etc/passwd' }, 'entries.2.guest must not hold ..'],
  [{ guest: '~dev/.netrc' }, 'entries.2.guest names the home of another user; only ~/ is known'],
  [{ guest: '/etc/passwd' }, 'entries.2.guest lies outside of ~/ (/root/)'],
  [{ guest: '/rootkit' }, 'entries.2.guest lies outside of ~/ (/root/)'],
  [{ guest: '~/' }, 'entries.2.guest names /root itself, not something in it'],
  [{ guest: '/root' }, 'entries.2.guest names /root itself, not something in it'],
  [{ mode: '600x' }, 'entries.2.mode must be three octal digits, such as "0600"'],
  [{ mode: '0800' }, 'entries.2.mode must be three octal digits, such as "0600"'],
  [{ mode: '4755' }, 'entries.2.mode must be three octal digits, such as "0600"'],
  [{ mode: '' }, 'entries.2.mode must be three octal digits, such as "0600"'],
])('refuses %j with the entry', (entry, problem) => {
  expect(problemsOf(entry)).toEqual([problem]);
});

test('tells all problems of an entry at once, and keys it does not know', () => {
  expect(problemsOf({ host: '', guest: '/etc', mode: 'x', owner: 'me' })).toHaveLength(4);
});

test('gives absolute host paths, guest paths below root\'s home, and modes as numbers', () => {
  const { entries } = fileSyncConfig.parse({ entries: [{ host: '~/.config//nvim/', guest: '/root/.config/./nvim/' }, { host: `${homedir()}/x`, guest: '~/x', mode: '644' }] });
  expect(entries).toEqual([
    { host: `${homedir()}/.config/nvim`.replace('//', '/'), guest: '.config/nvim', mode: 0o600 }, { host: `${homedir()}/x`.replace('//', '/'), guest: 'x', mode: 0o644 },
  ]);
});
