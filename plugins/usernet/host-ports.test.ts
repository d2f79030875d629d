import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { firstOpenPort, hostPortsFor } from './host-ports.ts';

const dir = mkdtempSync(join(tmpdir(), 'banger-host-ports-'));
mkdirSync(join(dir, 'net/ipv4'), { recursive: true });
afterAll(() => rmSync(dir, { recursive: true }));

test('an ordinary user has the ports from where the kernel says on, root all', () => {
  const host = { uid: 1000, tunPath: '', sysctlDir: dir };
  expect(firstOpenPort(host)).toBe(1024);
  writeFileSync(join(dir, 'net/ipv4/ip_unprivileged_port_start'), '443\n');
  expect(firstOpenPort(host)).toBe(443);
  expect(firstOpenPort({ ...host, uid: 0 })).toBe(0);
});

test.each([
  [3000, 1024, [3000]], [1024, 1024, [1024]], [80, 0, [80]], [80, 80, [80]],
  [80, 1024, [20_080, 30_080, 40_080]], [1023, 1024, [21_023, 31_023, 41_023]],
  [39_000, 50_000, [59_000]], [50_000, 60_000, []],
])('port %d of the guest where ports from %d are open: %j', (port, first, ports) => {
  expect(hostPortsFor(port, first)).toEqual(ports);
});
