import { expect, test } from 'vitest';
import { loopbackAddress, macAddress } from './address.ts';

test('a VM has the same loopback address each time, within 127.64.0.0/10', () => {
  const host = { uid: 1000, installId: 'aabbccdd' };
  for (let slot = 1; slot <= 3000; slot++) {
    const address = loopbackAddress(host, { slot });
    expect(loopbackAddress(host, { slot })).toBe(address);
    const [first, second] = address.split('.').map(Number);
    expect([first, Math.floor((second ?? 0) / 64)]).toEqual([127, 1]);
  }
});

test('all VMs of one daemon have different addresses', () => {
  const host = { uid: 0, installId: '00000000' };
  const addresses = new Set(Array.from({ length: 65_536 }, (_, slot) => loopbackAddress(host, { slot })));
  expect(addresses.size).toBe(65_536);
});

test('users and daemons have addresses of their own', () => {
  const at = (uid: number, installId: string): string => loopbackAddress({ uid, installId }, { slot: 1 });
  expect(new Set([at(0, 'a'), at(1, 'a'), at(0, 'b'), at(1, 'b')]).size).toBe(4);
});

test('a MAC is stable, its own, local and unicast', () => {
  const mac = macAddress({ mark: 'i/vm1' });
  expect(mac).toMatch(/^02(:[0-9a-f]{2}){5}$/);
  expect(macAddress({ mark: 'i/vm1' })).toBe(mac);
  expect(macAddress({ mark: 'i/vm2' })).not.toBe(mac);
});
