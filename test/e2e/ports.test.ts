// Ports that open in guests, ports added by hand, and the host's services that guests reach; on real guests, over a restart of the daemon.
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { VmPortListResult, VmPortsResult } from '../../core/api.ts';
import { makeHost, type Host } from '../support/host.ts';
import { waitFor } from '../support/wait.ts';

let host: Host;
let service: Server;
let servicePort: number;
let unlisted: Server;
const addresses: Record<string, string> = {};

async function listenOn(address: string, said: string): Promise<Server> {
  const server = createServer((socket) => { socket.on('error', () => undefined).end(said); }).listen(0, address);
  await new Promise((resolve) => server.once('listening', resolve));
  return server;
}
const portOf = (server: Server): number => (server.address() as { port: number }).port;

beforeAll(async () => {
  service = await listenOn('127.0.0.1', 'from the host');
  unlisted = await listenOn('127.0.0.1', 'secret');
  servicePort = portOf(service);
  host = await makeHost({ config: `[vm_defaults]\nvcpu = 1\nmemory_mib = 512\ninit = "agent"\n[network]\nhost_access = [${servicePort}]\n` });
  for (const name of ['one', 'two']) {
    await host.ok(['vm', 'run', '--name', name, '-d']);
    addresses[name] = ((await host.vm(name)).sections['usernet'] as { address: string }).address;
  }
  await host.ok(['vm', 'create', '--name', 'down', '--no-start']);
});
afterAll(async () => {
  service.close();
  unlisted.close();
  await host.dispose();
});

const sh = (vm: string, script: string): Promise<{ code: number; out: string; err: string }> => host.banger(['vm', 'exec', vm, '--', 'sh', '-c', script]);
const python = (vm: string, script: string): Promise<{ code: number; out: string; err: string }> => host.banger(['vm', 'exec', vm, '--', 'python3', '-c', script]);
/** Goes on after the command that started it. */
async function startPython(vm: string, name: string, script: string): Promise<void> {
  await host.ok(['vm', 'exec', vm, '--', 'sh', '-c', `setsid python3 -c "$0" >/dev/null 2>&1 </dev/null & echo $! >/run/${name}.pid`, script]);
}
const end = (vm: string, name: string): Promise<unknown> => host.ok(['vm', 'exec', vm, '--', 'sh', '-c', `kill -9 $(cat /run/${name}.pid)`]);
const webServer = (port: number, address = ''): string => [
  'import http.server,socket,socketserver', 'socketserver.TCPServer.allow_reuse_address=True',
  'class H(http.server.BaseHTTPRequestHandler):', ' def do_GET(s):', '  s.send_response(200);s.end_headers();s.wfile.write(socket.gethostname().encode())',
  ' def do_HEAD(s):', '  s.send_response(200);s.end_headers()', ' def log_message(s,*a): pass',
  `socketserver.ThreadingTCPServer(("${address}",${port}),H).serve_forever()`,
].join('\n');
const get = async (vm: string, port: number): Promise<string> => (await fetch(`http://${addresses[vm]}:${port}/`, { signal: AbortSignal.timeout(10_000) })).text();
const serves = (vm: string, port: number): Promise<string> => waitFor(`port ${port} of ${vm}`, () => get(vm, port));
const refuses = (address: string, port: number): Promise<true> => waitFor(`${address}:${port} to be closed`, () => new Promise<boolean>((resolve) => {
  const socket = connect({ host: address, port }).on('connect', () => { socket.destroy(); resolve(false); }).on('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
}).then((is) => is || undefined)) as Promise<true>;
const forwards = async (vm: string): Promise<VmPortListResult['vms'][number]> =>
  (JSON.parse((await host.ok(['vm', 'port', 'list', vm, '--json'])).out) as VmPortListResult).vms[0]!;
/** Ports on which this host listens at a VM's address, from the kernel. */
function hostPorts(vm: string): number[] {
  const hex = addresses[vm]!.split('.').toReversed().map((part) => Number(part).toString(16).padStart(2, '0').toUpperCase()).join('');
  return readFileSync('/proc/net/tcp', 'utf8').split('\n').map((line) => line.trim().split(/\s+/))
    .filter(([, local, , state]) => state === '0A' && local?.startsWith(`${hex}:`) === true).map(([, local]) => Number.parseInt(local!.slice(9), 16)).sort((a, b) => a - b);
}

describe('a server that starts after boot', () => {
  test('is at http://ADDR:3000, for two VMs at once', async () => {
    for (const vm of ['one', 'two']) await startPython(vm, 'web', webServer(3000));
    expect(await serves('one', 3000)).toBe('one');
    expect(await serves('two', 3000)).toBe('two');
  });

  test("is met on the guest's own address, where it listens on nothing else", async () => {
    const own = (await host.ok(['vm', 'exec', 'one', '--', 'hostname', '-I'])).out.trim().split(' ')[0]!;
    await startPython('one', 'own', webServer(3001, own));
    expect(await serves('one', 3001)).toBe('one');
    await end('one', 'own');
    await refuses(addresses['one']!, 3001);
  });

  test('is shown by vm ports with its process and a link, for many VMs; one that does not run is not_running', async () => {
    const { code, out, err } = await host.banger(['vm', 'ports', 'one', 'two', 'down', '--json']);
    const { vms } = JSON.parse(out) as VmPortsResult;
    expect([code, vms.map(({ vm, error }) => [vm.name, error?.code])], err).toEqual([1, [['one', undefined], ['two', undefined], ['down', 'not_running']]]);
    for (const { vm, ports } of vms.slice(0, 2)) {
      expect(ports.find(({ port }) => port === 3000)).toMatchObject({
        protocol: 'tcp', process: expect.stringMatching(/^python3/) as string, endpoint: `${addresses[vm.name]}:3000`, url: `http://${addresses[vm.name]}:3000/`,
      });
    }
    expect((await host.banger(['vm', 'ports', 'down'])).err).toContain('VM down is not running');
  });
});

test('a port that closes and opens a hundred times leaves nothing, and is there when it stays', async () => {
  const before = hostPorts('one');
  const loop = await python('one', [
    'import socket,time', 'for n in range(100):', ' s=socket.socket();s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1);s.bind(("",4000));s.listen();time.sleep(0.05 if n%3 else 0.4);s.close();time.sleep(0.05 if n%5 else 0.4)',
  ].join('\n'));
  expect(loop.code, loop.err).toBe(0);
  await refuses(addresses['one']!, 4000);
  expect(hostPorts('one')).toEqual(before);
  await startPython('one', 'again', webServer(4000));
  expect(await serves('one', 4000)).toBe('one');
  await end('one', 'again');
  await refuses(addresses['one']!, 4000);
  expect(hostPorts('one')).toEqual(before);
});

test('a thousand ports are 256 forwards and a notice, and then none', async () => {
  const before = hostPorts('one');
  await startPython('one', 'storm', [
    'import resource,socket,time', 'resource.setrlimit(resource.RLIMIT_NOFILE,(4096,4096))', 'all=[]',
    'for p in range(20000,21000):', ' s=socket.socket();s.bind(("127.0.0.1",p));s.listen();all.append(s)', 'time.sleep(1000)',
  ].join('\n'));
  const stormy = await waitFor('the storm to be seen', async () => {
    const listed = await forwards('one');
    return listed.notices.length > 0 && listed.unforwarded.length > 700 ? listed : undefined;
  }, 120_000);
  expect(stormy.forwards.filter(({ source }) => source === 'auto')).toHaveLength(256);
  expect(stormy.notices).toEqual([expect.stringMatching(/^\d+ ports of the guest are not forwarded: 256 automatic forwards are all a VM gets$/)]);
  expect(hostPorts('one').length).toBeLessThanOrEqual(257);
  expect(await get('one', 3000)).toBe('one');
  expect(await get('two', 3000)).toBe('two');
  await end('one', 'storm');
  await waitFor('the storm to be over', () => hostPorts('one').length === before.length);
  expect(hostPorts('one')).toEqual(before);
  expect((await forwards('one')).notices).toEqual([]);
});

describe('ports on request', () => {
  test('vm port add and rm on a running VM; a clash names its holder', async () => {
    expect((await host.ok(['vm', 'port', 'add', 'one', '8080:3000'])).out).toBe(`${addresses['one']}:8080 -> 3000\n`);
    expect(await get('one', 8080)).toBe('one');
    const taken = await listenOn(addresses['one']!, 'mine');
    onTestFinished(() => { taken.close(); });
    const clash = await host.banger(['vm', 'port', 'add', 'one', `${portOf(taken)}:3000`]);
    expect([clash.code, clash.err]).toEqual([1, expect.stringContaining(`(pid ${process.pid}) listens there`)]);
    await host.ok(['vm', 'port', 'rm', 'one', '8080']);
    await refuses(addresses['one']!, 8080);
    expect((await host.banger(['vm', 'port', 'rm', 'one', '3000'])).err).toContain('is forwarded automatically');
  });

  test('UDP comes back from an echo in the guest', async () => {
    await startPython('one', 'echo', 'import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.bind(("",5353))\nwhile True:\n d,a=s.recvfrom(65535);s.sendto(b"echo "+d,a)');
    await waitFor('the echo to listen', async () => (await host.ok(['vm', 'ports', 'one', '--no-probe'])).out.includes('5353/udp'));
    await host.ok(['vm', 'port', 'add', 'one', '--udp', '5353']);
    expect(await echo('hello')).toBe('echo hello');
  });

  test('--no-auto-ports of vm set ends the automatic ones of a running VM, and --auto-ports brings them back', async () => {
    await host.ok(['vm', 'set', 'two', '--no-auto-ports']);
    await refuses(addresses['two']!, 3000);
    expect(await get('one', 3000)).toBe('one');
    expect((await host.ok(['vm', 'ports', 'two'])).out).toMatch(/3000\/tcp .*not forwarded; banger vm port add two 3000/);
    await host.ok(['vm', 'set', 'two', '--auto-ports']);
    expect(await serves('two', 3000)).toBe('two');
  });
});

/** Datagrams may be lost: asks until there is an answer. */
async function echo(text: string): Promise<string> {
  const socket = createSocket('udp4');
  try {
    let answer: string | undefined;
    socket.on('message', (data) => { answer = data.toString(); });
    return await waitFor('the echo', () => {
      if (answer === undefined) socket.send(text, 5353, addresses['one']);
      return answer;
    });
  } finally {
    socket.close();
  }
}

const fromHost = (vm: string, port: number): Promise<{ code: number; out: string; err: string }> =>
  python(vm, `import socket,sys\ns=socket.create_connection(("host.banger.internal",${port}),10)\nsys.stdout.write(s.recv(100).decode())`);

test("a guest reaches the host's listed port as host.banger.internal, and no other", async () => {
  await waitFor('the service of the host', async () => (await fromHost('one', servicePort)).out === 'from the host');
  expect((await sh('one', 'grep host.banger.internal /etc/hosts')).out).toBe('127.111.0.1 host.banger.internal\n');
  const other = await fromHost('one', portOf(unlisted));
  expect([other.code, other.out]).toEqual([1, '']);
  expect(other.err).toContain('Connection refused');
  // What leads to the host is not led back to it.
  expect(hostPorts('one')).not.toContain(servicePort);
});

test('after kill -9 of the daemon all of it is there again', async () => {
  await host.ok(['vm', 'port', 'add', 'one', '8081:3000']);
  await host.killDaemon();
  expect(hostPorts('one')).toEqual([]);
  await host.ok(['vm', 'list']);
  expect(await serves('one', 8081)).toBe('one');
  expect(await serves('one', 3000)).toBe('one');
  expect(await serves('two', 3000)).toBe('two');
  expect(await echo('again')).toBe('echo again');
  await waitFor('the service of the host', async () => (await fromHost('two', servicePort)).out === 'from the host');
});

test('a guest that reboots is followed again', async () => {
  await host.banger(['vm', 'exec', 'two', '--', 'reboot']);
  await waitFor('the reboot', async () => (await host.vm('two')).reboots > 0);
  await refuses(addresses['two']!, 3000);
  await startPython('two', 'web', webServer(3000));
  expect(await serves('two', 3000)).toBe('two');
});

test('a stopped VM has no port left, and nothing leaks', async () => {
  await host.ok(['vm', 'stop', 'one']);
  expect(hostPorts('one')).toEqual([]);
  expect((await host.banger(['vm', 'port', 'add', 'one', '80'])).err).toContain('VM one is not running');
  expect((await host.banger(['doctor', '--leaks'])).code).toBe(0);
});
