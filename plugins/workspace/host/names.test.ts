// Names for people, for the guest, and for git's configuration.
import { describe, expect, test } from 'vitest';
import { fromBytes, onDisk, splitNul, toBytes } from './bytes.ts';
import { escapeName } from './escape.ts';
import { defaultGuestPath, requireGuestPath } from './guest-path.ts';
import { withoutSecrets } from './origin-url.ts';

describe('a name for people', () => {
  test.each([
    ['plain name.txt', 'plain name.txt'],
    [toBytes('grüße ✓ 😀'), 'grüße ✓ 😀'],
    ['a\nb\tc\x7f', 'a\\x0ab\\x09c\\x7f'],
    ['\x1b[31m', '\\x1b[31m'],
    ['back\\x0aslash', 'back\\x5cx0aslash'],
    ['\xff\xc3', '\\xff\\xc3'],
    ['\xc3(', '\\xc3('],
    ['\xed\xa0\x80', '\\xed\\xa0\\x80'],
    [toBytes('\u202egpj.exe'), '\\xe2\\x80\\xaegpj.exe'],
    [toBytes('\u0085'), '\\xc2\\x85'],
    [toBytes('\ufeffx'), '\\xef\\xbb\\xbfx'],
  ])('%j', (name, shown) => expect(escapeName(name)).toBe(shown));
});

describe('the guest path', () => {
  test.each([
    ['repo', '/root/repo'], ['.dotfiles', '/root/_dotfiles'], ['...', '/root/___'], ['.ssh', '/root/_ssh'], ['a b/c', '/root/a_b_c'], ['ü', '/root/__'],
    ['', '/root/repo'], ['x'.repeat(80), `/root/${'x'.repeat(64)}`], ['a.b-c_D9', '/root/a.b-c_D9'],
  ])('for %j is %s', (name, path) => expect(defaultGuestPath(name)).toBe(path));

  test.each([['/root/x', '/root/x'], ['/root//x/./y/', '/root/x/y'], ['/srv/x', '/srv/x'], ['/etcetera', '/etcetera'], ['/tmp/x', '/tmp/x']])(
    '%s is taken as %s', (path, clean) => expect(requireGuestPath(path)).toBe(clean));

  test.each([
    'x', './x', '', '/', '//', '/root', '/root/', '/srv', '/home', '/root/.ssh', '/root/.ssh/x', '/root/.sshx', '/root/x/../.ssh', '/etc', '/etc/x', '/proc/1', '/sys', '/dev/shm', '/run/x',
    '/usr/src', '/bin', '/sbin/x', '/lib', '/lib64/x', '/boot', '/x\ny', '/x\0', `/${'x'.repeat(1025)}`, '/x/.git/y',
  ])('%j is refused', (path) => expect(() => requireGuestPath(path)).toThrow(expect.objectContaining({ code: 'bad_request' }) as Error));
});

test.each([
  ['https://user:secret@example.org/a.git', 'https://example.org/a.git'],
  ['https://token@example.org/a.git', 'https://example.org/a.git'],
  ['HTTPS://a:b@c@example.org:8443/x', 'HTTPS://example.org:8443/x'],
  ['https://example.org/a@b', 'https://example.org/a@b'],
  ['ssh://git:secret@example.org:22/a', 'ssh://git@example.org:22/a'],
  ['ssh://git@example.org/a', 'ssh://git@example.org/a'],
  ['git@example.org:a.git', 'git@example.org:a.git'],
  ['/srv/a@b:c', '/srv/a@b:c'],
  ['../a.git', '../a.git'],
  ['file:///a', 'file:///a'],
  ['hg::https://u:p@example.org/x', 'hg::https://example.org/x'],
])('the URL %s keeps no secret', (url, clean) => expect(withoutSecrets(url)).toBe(clean));

test('bytes go there and back', () => {
  expect(fromBytes(toBytes('grüße'))).toBe('grüße');
  expect(fromBytes('\xff')).toBeUndefined();
  expect(onDisk('/ü', '\xff')).toEqual(Buffer.from([0x2f, 0xc3, 0xbc, 0x2f, 0xff]));
  expect([...splitNul('a\0\nb\0')]).toEqual(['a', '\nb']);
});
