import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { remoteCommand } from './remote-command.ts';

const words = ['a', '', ' ', 'a b', "it's", "''", '"', '\\', '\\n', '$HOME', '`id`', '*', '~', '~root', '{a,b}', 'x=y', 'a\nb', '!', '#', '-n', '--', ';', '&', '|', '>', '<', '(', ')', '[a]', '?', '%s', 'ü', '\t', '\u0001'];

test.each(['/bin/sh', '/bin/bash'])('%s takes the line apart into the same words', (shell) => {
  const line = remoteCommand(['printf', '%s\\0', ...words]);
  expect(execFileSync(shell, ['-c', line], { encoding: 'utf8' })).toBe(words.map((word) => `${word}\0`).join(''));
});

test('is easy to read where it can be, and a first word is no keyword, alias or assignment', () => {
  expect(remoteCommand(['make', '-j4', 'test', 'a b'])).toBe("'make' -j4 test 'a b'");
  expect(remoteCommand(['A=1'])).toBe("'A=1'");
});
