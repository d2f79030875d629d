import { expect, test } from 'vitest';
import type { ListenerSnapshot } from '../stats/capability.ts';
import { dialHost, guestHostOf, wantedForwards } from './wanted.ts';

const tcp = (address: string, port: number): ListenerSnapshot['listeners'][number] => ({ protocol: 'tcp', address, port, uid: 0 });

test.each([
  [['0.0.0.0'], '127.0.0.1'], [['0.0.0.0', '::'], '127.0.0.1'], [['127.0.0.1', '10.0.3.15'], '127.0.0.1'],
  [['::'], 'localhost'], [['::1'], '::1'], [['::1', '127.0.0.2'], '::1'],
  [['127.0.0.2'], '127.0.0.2'], [['10.0.3.15'], '10.0.3.15'], [['fe80::1', 'fd00::2', '10.0.3.15'], '10.0.3.15'], [['fe80::1', 'fd00::2'], 'fd00::2'],
  [['fe80::1'], undefined], [['FEBF::1'], undefined],
])('a listener on %j is reached at %s', (addresses, host) => {
  expect(dialHost(addresses)).toBe(host);
});

test('each TCP port once, by number; UDP and the way to the host are no forwards', () => {
  expect(wantedForwards([
    tcp('::', 3000), tcp('0.0.0.0', 3000), tcp('::ffff:127.0.0.1', 80), tcp('127.111.0.1', 5432), tcp('10.0.3.15', 9000), tcp('fe80::1', 70),
    { protocol: 'udp', address: '0.0.0.0', port: 53, uid: 0 },
  ])).toEqual({
    forwards: [{ guestPort: 80, guestHost: '127.0.0.1' }, { guestPort: 3000, guestHost: '127.0.0.1' }, { guestPort: 9000, guestHost: '10.0.3.15' }],
    unforwarded: [{ protocol: 'tcp', guestPort: 70, why: 'the guest listens on a link-local address only' }],
  });
});

test('of one port, TCP and UDP apart', () => {
  const listeners = [tcp('10.0.3.15', 53), { ...tcp('0.0.0.0', 53), protocol: 'udp' as const }];
  expect(guestHostOf(listeners, 'tcp', 53)).toBe('10.0.3.15');
  expect(guestHostOf(listeners, 'udp', 53)).toBe('127.0.0.1');
  expect(guestHostOf(listeners, 'udp', 54)).toBeUndefined();
});
