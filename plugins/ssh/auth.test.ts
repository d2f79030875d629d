import { expect, test } from 'vitest';
import { createAuthenticator, isUserName } from './auth.ts';
import type { Ssh2AuthKey, Ssh2Key } from './ssh2-protocol.ts';

const blob = Buffer.from('a key');
const line = `ssh-ed25519 ${blob.toString('base64')} somebody`;
const service = 'ssh-connection';
const keyOf = (hasSigned: boolean): Ssh2Key => ({ type: 'ssh-ed25519', getPublicSSH: () => blob, verify: () => hasSigned });
const request = (data: Partial<Ssh2AuthKey>, user = 'root') => ({
  user, service, method: 'publickey', data: { keyAlgo: 'ssh-ed25519', key: blob, ...data },
});
const signed = { signature: Buffer.from('s'), blob: Buffer.from('b') };
const make = (hasSigned = true, maxTries = 6) => createAuthenticator({ authorizedKeys: ['# no key', line], maxTries, parseKey: () => keyOf(hasSigned) });

test('asks for a signature of a known key and accepts a right one only', () => {
  expect(make().answer(request({}))).toMatchObject({ kind: 'sign', algorithm: 'ssh-ed25519' });
  expect(make().answer(request(signed))).toEqual({ kind: 'accepted', user: 'root' });
  expect(make(false).answer(request(signed))).toEqual({ kind: 'refused' });
  expect(createAuthenticator({ authorizedKeys: [line], maxTries: 6, parseKey: () => { throw new Error('no key'); } }).answer(request(signed))).toEqual({ kind: 'refused' });
});

test('refuses unknown keys, SHA-1, and users whose names are none', () => {
  expect(make().answer(request({ key: Buffer.from('another'), ...signed }))).toEqual({ kind: 'refused' });
  expect(make().answer(request({ keyAlgo: 'ssh-rsa', ...signed }))).toEqual({ kind: 'refused' });
  expect(make().answer(request({ keyAlgo: 'ssh-dss', ...signed }))).toEqual({ kind: 'refused' });
  expect(make().answer(request(signed, '../root'))).toEqual({ kind: 'refused' });
  expect(createAuthenticator({ authorizedKeys: [], maxTries: 6, parseKey: () => keyOf(true) }).answer(request(signed))).toEqual({ kind: 'refused' });
});

test('ends after as many failures as allowed; the first question for methods is none', () => {
  const auth = make(false, 3);
  const none = { user: 'root', service, method: 'none', data: null };
  expect([none, none, request(signed), { ...none, method: 'password' }].map((one) => auth.answer(one).kind)).toEqual(['refused', 'refused', 'refused', 'over']);
});

test('ends when user or service change', () => {
  const auth = make();
  auth.answer(request({}));
  expect(auth.answer(request({}, 'other'))).toMatchObject({ kind: 'over' });
  expect(make().answer({ ...request({}), service: 'ssh-userauth' })).toMatchObject({ kind: 'over' });
});

test.each([['root', true], ['_apt', true], ['a.b-c', true], ['machine$', true], ['', false], ['1000', false], ['a b', false], ['a\n', false], ['-x', false], ['x'.repeat(40), false], ['a:b', false]])(
  'user name %j: %s', (name, isGood) => { expect(isUserName(name)).toBe(isGood); });
