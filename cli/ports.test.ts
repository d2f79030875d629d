// vm ports and vm port, against a scripted daemon.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { VmForward, VmPortsResult } from '../core/api.ts';
import { FakeDaemon, FakeError } from './testing/fake-daemon.ts';
import { runCli, type CliResult } from './testing/run-cli.ts';
import { parsePorts } from './port-text.ts';

let daemon: FakeDaemon;
beforeEach(async () => { daemon = await new FakeDaemon().listen(); });
afterEach(async () => { await daemon.dispose(); });
const banger = (...words: string[]): Promise<CliResult> => runCli(words, { env: daemon.env });
const answer = (methods: NonNullable<FakeDaemon['options']['methods']>): void => { daemon.options = { methods }; };
const devbox = { id: 'aaaaaaaaaaaa', name: 'devbox' };
const forward = (changes: Partial<VmForward> = {}): VmForward =>
  ({ protocol: 'tcp', address: '127.70.0.1', hostPort: 3000, guestPort: 3000, guestHost: '127.0.0.1', source: 'added', ...changes });

test.each([
  ['3000', 2, { ports: [3000] }], ['8080:80', 2, { ports: [8080, 80] }], ['0.0.0.0:8080:80', 2, { address: '0.0.0.0', ports: [8080, 80] }],
  ['8080', 1, { ports: [8080] }], ['127.0.0.1:8080', 1, { address: '127.0.0.1', ports: [8080] }],
] as const)('%s with %d ports is %j', (text, most, expected) => {
  expect(parsePorts(text, most)).toEqual(expected);
});
test.each([
  ['', 2], ['x', 2], ['0', 2], ['65536', 2], ['1:2:3', 2], ['127.0.0.1:80', 2], ['300.0.0.1:1:2', 2], ['-1', 2], ['8080:80', 1], ['127.0.0.1', 1], ['127.0.0.1:1:2', 1],
] as const)('%j with %d ports is none', (text, most) => {
  expect(() => parsePorts(text, most)).toThrow(/is no port/);
});

describe('vm ports', () => {
  const result: VmPortsResult = { vms: [
    { vm: devbox, more: 3, ports: [
      { protocol: 'tcp', port: 3000, addresses: ['0.0.0.0', '::'], process: 'no\u001bde', pid: 7, endpoint: '127.70.0.1:3000', url: 'http://127.70.0.1:3000/' },
      { protocol: 'udp', port: 53, addresses: ['a', 'b', 'c', 'd', 'e'], why: 'not forwarded; banger vm port add devbox 53 --udp' },
    ] },
    { vm: { id: 'abbbbbbbbbbb', name: 'builder' }, more: 0, ports: [], error: { code: 'not_running', message: 'VM builder is not running (stopped)', hint: 'banger vm start builder' } },
  ] };

  test('shows a row a port with its link, and says which VM cannot be asked', async () => {
    answer({ 'vm.ports': () => result });
    const { code, out, err } = await banger('vm', 'ports', 'devbox', 'builder');
    expect(out).toBe('NAME    PORT      PROCESS    LISTENS ON       ENDPOINT\n'
      + 'devbox  3000/tcp  no?de (7)  0.0.0.0, ::      http://127.70.0.1:3000/\n'
      + 'devbox  53/udp    -          a, b, c, 2 more  - (not forwarded; banger vm port add devbox 53 --udp)\n');
    expect(err).toBe('devbox: 3 more are not shown\nbanger: VM builder is not running (stopped)\n  hint: banger vm start builder\n');
    expect(code).toBe(1);
    expect(daemon.called('vm.ports')).toEqual([{ refs: ['aaaaaaaaaaaa', 'abbbbbbbbbbb'] }]);
  });
  test('of one VM has no column of names; without a reference every running VM is asked', async () => {
    answer({ 'vm.ports': () => ({ vms: result.vms.slice(0, 1) }) });
    expect((await banger('vm', 'ports', 'devbox', '--no-probe')).out).toMatch(/^PORT {6}PROCESS/);
    expect((await banger('vm', 'ports')).out).toMatch(/^NAME {4}PORT/);
    expect(daemon.called('vm.ports')).toEqual([{ refs: ['aaaaaaaaaaaa'], probe: false }, {}]);
    expect(JSON.parse((await banger('vm', 'ports', '--json')).out)).toEqual({ vms: result.vms.slice(0, 1) });
  });
  test('a name that fits nothing is told, and the others are asked', async () => {
    answer({ 'vm.ports': () => ({ vms: result.vms.slice(0, 1) }) });
    const { code, out, err } = await banger('vm', 'ports', 'nobody', 'devbox');
    expect([code, err.startsWith('banger: No VM matches nobody'), out.includes('3000/tcp')]).toEqual([1, true, true]);
    expect((await banger('vm', 'ports', 'nobody')).out).toBe('');
  });
});

describe('vm port', () => {
  test('add and rm pass on what was written and say where it is', async () => {
    answer({
      'vm.port.add': ({ params }) => ({ forward: forward(params as Partial<VmForward>) }),
      'vm.port.rm': ({ params }) => ({ forward: forward(params as Partial<VmForward>) }),
    });
    expect((await banger('vm', 'port', 'add', 'devbox', '3000', '127.0.0.1:8080:80')).out).toBe('127.70.0.1:3000 -> 3000\n127.0.0.1:8080 -> 80\n');
    expect((await banger('vm', 'port', 'add', 'devbox', '--udp', '5300:53')).out).toBe('127.70.0.1:5300 (UDP) -> 53\n');
    expect((await banger('vm', 'port', 'rm', 'devbox', '127.0.0.1:8080')).out).toBe('127.0.0.1:8080 removed\n');
    expect(daemon.called('vm.port.add')).toEqual([
      { ref: 'devbox', guestPort: 3000 }, { ref: 'devbox', guestPort: 80, hostPort: 8080, address: '127.0.0.1' }, { ref: 'devbox', guestPort: 53, hostPort: 5300, protocol: 'udp' },
    ]);
    expect(daemon.called('vm.port.rm')).toEqual([{ ref: 'devbox', hostPort: 8080, address: '127.0.0.1' }]);
  });
  test('a clash is told with its holder', async () => {
    answer({ 'vm.port.add': () => { throw new FakeError('busy', 'Port 127.70.0.1:80 is busy: nginx (pid 812) listens there'); } });
    expect(await banger('vm', 'port', 'add', 'devbox', '80')).toMatchObject({ code: 1, err: expect.stringMatching(/^banger: Port 127.70.0.1:80 is busy: nginx \(pid 812\) listens there\n/) as string });
  });
  test('vm port add --json tells what was opened before one could not be', async () => {
    answer({ 'vm.port.add': ({ params }) => {
      if (params['guestPort'] === 81) throw new FakeError('busy', 'Port 127.70.0.1:81 is busy');
      return { forward: { protocol: 'tcp', guestPort: 80, address: '127.70.0.1', hostPort: 80, source: 'added' } };
    } });
    const { code, out, err } = await banger('vm', 'port', 'add', 'devbox', '80', '81', '--json');
    expect([code, err]).toEqual([1, expect.stringContaining('Port 127.70.0.1:81 is busy') as string]);
    expect(JSON.parse(out)).toEqual({ forwards: [expect.objectContaining({ guestPort: 80 })] });
  });
  test('what is no port is refused before anything is asked', async () => {
    expect(await banger('vm', 'port', 'add', 'devbox', '80', 'x')).toMatchObject({ code: 2, err: expect.stringContaining('x is no port') as string });
    expect(daemon.calls.filter(({ method }) => method === 'vm.port.add')).toEqual([]);
  });
  test('list shows forwards, what is not forwarded and why, and notices', async () => {
    answer({ 'vm.port.list': () => ({ vms: [{
      vm: devbox, address: '127.70.0.1', auto: true, notices: ['744 ports of the guest are not forwarded', 'said by the guest: \u202e\u009b2J'],
      forwards: [forward({ source: 'auto' }), forward({ hostPort: 9000, guestPort: 9000, guestHost: '10.0.3.15', source: 'auto' })],
      unforwarded: [{ protocol: 'tcp', guestPort: 22, why: 'busy' }],
    }] }) });
    expect(await banger('vm', 'port', 'list', 'devbox')).toMatchObject({
      code: 0, err: 'devbox: 744 ports of the guest are not forwarded\ndevbox: said by the guest: ??2J\n',
      out: 'HOST             GUEST           KIND\n127.70.0.1:3000  3000            auto\n127.70.0.1:9000  10.0.3.15:9000  auto\n-                22              not forwarded: busy\n',
    });
  });
});
