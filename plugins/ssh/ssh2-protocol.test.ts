// What we use of ssh2 below its public API: a new version that changes it must fail here first.
import { createRequire } from 'node:module';
import { expect, test } from 'vitest';
import { generateKey } from './openssh-key.ts';
import { loadSsh2 } from './ssh2-protocol.ts';

const require = createRequire(import.meta.url);

test('is the version whose inner parts were read', () => {
  expect((require('ssh2/package.json') as { version: string }).version).toBe('1.17.0');
});

test('has every message that its Server has no call for, agent forwarding among them', async () => {
  const { Protocol, sendPacket } = await loadSsh2();
  const methods = [
    'serviceAccept', 'authFailure', 'authPKOK', 'authSuccess', 'requestSuccess', 'requestFailure', 'channelOpenConfirm', 'channelOpenFail',
    'channelWindowAdjust', 'channelData', 'channelExtData', 'channelEOF', 'channelClose', 'channelSuccess', 'channelFailure', 'exitStatus',
    'forwardedTcpip', 'openssh_forwardedStreamLocal', 'openssh_authAgent', 'parse', 'cleanup',
  ];
  const prototype = Protocol.prototype as unknown as Record<string, unknown>;
  expect(methods.filter((name) => typeof prototype[name] !== 'function')).toEqual([]);
  expect(typeof sendPacket).toBe('function');
});

test('asks the client for a channel to its agent as OpenSSH does', async () => {
  const { Protocol } = await loadSsh2();
  const written: Buffer[] = [];
  const list = { cipher: ['aes128-gcm@openssh.com'], mac: [], compress: ['none'], lang: [] };
  const protocol = new Protocol({
    server: true, ident: 'banger', hostKeys: {}, offer: { kex: ['curve25519-sha256'], serverHostKey: ['ssh-ed25519'], cs: list, sc: list },
    onWrite: (data: Buffer) => written.push(data), onError: () => undefined, messageHandlers: {},
  });
  protocol.start();
  expect(written.shift()!.toString()).toBe('SSH-2.0-banger\r\n');
  protocol.openssh_authAgent(7, 1000, 500);
  // Length, padding length, CHANNEL_OPEN, its type.
  const packet = Buffer.concat(written);
  expect(packet[5]).toBe(90);
  expect(packet.subarray(10, 32).toString()).toBe('auth-agent@openssh.com');
  expect([packet.readUInt32BE(32), packet.readUInt32BE(36), packet.readUInt32BE(40)]).toEqual([7, 1000, 500]);
  expect(protocol._packetRW.write.allocStart).toBe(5);
  expect(protocol._packetRW.write.allocStartKEX).toBe(5);
  expect(protocol._kexinit).toBeUndefined();
});

test('reads the keys we make, and refuses what is none', async () => {
  const { parseKey } = await loadSsh2();
  const { privateKey, publicKey } = generateKey('comment');
  const parsed = [parseKey(privateKey), parseKey(publicKey)];
  expect(parsed.map(({ type }) => type)).toEqual(['ssh-ed25519', 'ssh-ed25519']);
  expect(parsed[0]!.getPublicSSH().toString('base64')).toBe(publicKey.split(' ')[1]);
  expect(parsed[1]!.verify(Buffer.from('data'), Buffer.alloc(64))).toBe(false);
  expect(() => parseKey('nothing')).toThrow('Unsupported key format');
});
