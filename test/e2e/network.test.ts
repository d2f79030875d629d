// usernet: outbound works, and a hostile root guest reaches neither the host's loopback nor another VM.
import { createServer, type Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeHost, type Host } from '../support/host.ts';

let host: Host;
let secret: Server;
let secretPort: number;
let reached = 0;
beforeAll(async () => {
  // On all addresses of the host, as a careless developer's server would be.
  secret = createServer((socket) => {
    reached += 1;
    socket.end('secret\n');
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => secret.once('listening', resolve));
  secretPort = (secret.address() as { port: number }).port;
  host = await makeHost();
  await host.ok(['vm', 'run', '--name', 'hostile', '-d']);
  await host.ok(['vm', 'run', '--name', 'victim', '--publish', '8080:8000', '-d']);
});
afterAll(async () => {
  secret.close();
  await host.dispose();
});

const connectFrom = (target: string, port: number): Promise<{ code: number; out: string; err: string }> =>
  host.banger(['vm', 'exec', 'hostile', '--', 'python3', '-c',
    `import socket,sys\ns=socket.create_connection((${JSON.stringify(target)},${port}),4)\nsys.stdout.write(s.recv(100).decode())`]);

describe('a hostile guest', () => {
  test('has a network: address, default route, nameserver', async () => {
    expect((await host.ok(['vm', 'exec', 'hostile', '--', 'ip', 'route'])).out).toMatch(/default via/);
    expect((await host.ok(['vm', 'exec', 'hostile', '--', 'cat', '/etc/resolv.conf'])).out).toMatch(/nameserver \d/);
  });

  test.each(['10.0.2.2', '10.0.3.2', '10.0.2.3', '10.0.2.100', '10.0.3.3'])("does not reach the host's loopback server through %s", async (gateway) => {
    const result = await connectFrom(gateway, secretPort);
    expect(result.out).not.toContain('secret');
    expect(result.code).not.toBe(0);
    expect(reached).toBe(0);
  });

  test("does not reach the host's loopback, nor another VM's address, by routing 127/8 to the gateway", async () => {
    const victim = (await host.vm('victim')).sections['usernet'] as { address: string };
    expect(victim.address).toMatch(/^127\./);
    await host.ok(['vm', 'exec', 'hostile', '--', 'sh', '-ec',
      'sysctl -qw net.ipv4.conf.all.route_localnet=1 || echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet\n'
      + 'gw=$(ip route | awk "/default/{print \\$3}"); dev=$(ip route | awk "/default/{print \\$5}")\n'
      + 'echo 1 > /proc/sys/net/ipv4/conf/$dev/route_localnet\n'
      + 'ip route flush table local type local 127.0.0.0/8 2>/dev/null || ip route del local 127.0.0.0/8 dev lo table local || true\n'
      + 'ip addr del 127.0.0.1/8 dev lo || true; ip route add 127.0.0.0/8 via $gw dev $dev src $(hostname -I | cut -d" " -f1) || true']);
    for (const [address, port] of [['127.0.0.1', secretPort], [victim.address, 8080]] as const) {
      const result = await connectFrom(address, port);
      expect(result.out).not.toContain('secret');
      expect(result.code, `${address}:${port} ${result.err}`).not.toBe(0);
    }
    expect(reached).toBe(0);
  });
});

test('--network none has no interface but loopback, and exec works', async () => {
  const result = await host.ok(['vm', 'run', '--rm', '--network', 'none', '--', 'sh', '-c', 'ls /sys/class/net']);
  expect(result.out.trim()).toBe('lo');
});
