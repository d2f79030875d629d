import { expect, test } from 'vitest';
import type { PortForward } from '../../usernet/capability.ts';
import type { ListenerSnapshot } from '../capability.ts';
import { forwardOf, portRows } from './rows.ts';

const forward = (changes: Partial<PortForward>): PortForward =>
  ({ protocol: 'tcp', address: '127.70.0.1', hostPort: 3000, guestPort: 3000, guestHost: 'localhost', source: 'auto', ...changes });
const snapshot: ListenerSnapshot = {
  more: 0,
  listeners: [
    { protocol: 'udp', address: '0.0.0.0', port: 53, uid: 0 },
    { protocol: 'tcp', address: '0.0.0.0', port: 3000, uid: 0, pid: 7, process: 'no\u001b[31mde' },
    { protocol: 'tcp', address: '::', port: 3000, uid: 0, pid: 7, process: 'other' },
    { protocol: 'tcp', address: '0.0.0.0', port: 22, uid: 0, process: 'x'.repeat(500) },
    { protocol: 'tcp', address: '10.0.3.15', port: 80, uid: 0 },
    { protocol: 'tcp', address: '127.0.0.1', port: 9, uid: 0 },
  ],
};

test('one row a port, sorted, with the way there or why there is none', () => {
  const rows = portRows(snapshot, {
    name: 'devbox', unforwarded: [{ protocol: 'tcp', guestPort: 22, why: 'Port 127.70.0.1:22 is busy: sshd (pid 1) listens there' }],
    forwards: [forward({}), forward({ hostPort: 8080, guestPort: 80, source: 'published' }), forward({ hostPort: 20_080, guestPort: 80, guestHost: '10.0.3.15' }), forward({ address: '0.0.0.0', hostPort: 9, guestPort: 9, source: 'published' }), forward({ protocol: 'udp', hostPort: 1, guestPort: 1 })],
  });
  expect(rows).toEqual([
    { protocol: 'tcp', port: 9, addresses: ['127.0.0.1'], endpoint: '127.0.0.1:9' },
    { protocol: 'tcp', port: 22, addresses: ['0.0.0.0'], process: 'x'.repeat(64), why: 'Port 127.70.0.1:22 is busy: sshd (pid 1) listens there' },
    { protocol: 'udp', port: 53, addresses: ['0.0.0.0'], why: 'not forwarded; banger vm port add devbox 53 --udp' },
    { protocol: 'tcp', port: 80, addresses: ['10.0.3.15'], endpoint: '127.70.0.1:20080' },
    { protocol: 'tcp', port: 3000, addresses: ['0.0.0.0', '::'], process: 'no?[31mde', pid: 7, endpoint: '127.70.0.1:3000' },
  ]);
});

test('of several ways the one with the guest\'s own port on a loopback address is shown', () => {
  const [all, high, own] = [forward({ address: '0.0.0.0' }), forward({ hostPort: 8080 }), forward({})];
  const row = { protocol: 'tcp' as const, port: 3000, addresses: ['0.0.0.0'] };
  expect(forwardOf(row, [all, high, own])).toBe(own);
  expect(forwardOf(row, [all, high])).toBe(high);
  expect(forwardOf(row, [all])).toBe(all);
  expect(forwardOf({ ...row, protocol: 'udp' }, [all])).toBeUndefined();
});

test.each([
  ['localhost', ['127.0.0.1'], true], ['localhost', ['::1'], true], ['localhost', ['::'], true], ['127.0.0.1', ['0.0.0.0'], true], ['127.0.0.1', ['::'], true],
  ['::1', ['0.0.0.0'], false], ['::1', ['::'], true], ['10.0.3.15', ['10.0.3.15'], true], ['10.0.3.15', ['127.0.0.1'], false], ['localhost', ['10.0.3.15', 'fd00::2'], false],
])('a forward to %s of the guest leads to what listens on %j: %s', (guestHost, addresses, leads) => {
  const way = forward({ guestHost });
  expect(forwardOf({ protocol: 'tcp', port: 3000, addresses }, [way])).toBe(leads ? way : undefined);
});

test('a published port that misses the listener is no endpoint, and that is said', () => {
  const context = { name: 'devbox', unforwarded: [], forwards: [forward({ hostPort: 8080, guestPort: 80, source: 'published' })] };
  const [row] = portRows({ more: 0, listeners: [{ protocol: 'tcp', address: '10.0.3.15', port: 80, uid: 0 }] }, context);
  expect(row).toEqual({ protocol: 'tcp', port: 80, addresses: ['10.0.3.15'], why: '127.70.0.1:8080 leads to localhost of the guest, where nothing listens' });
});
