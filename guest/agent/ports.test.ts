// `agent ports` by itself, built with sanitizers: real sockets of this host, and files in place of /proc.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { openListener } from '../../plugins/agent/listen-stream.ts';
import { collect, openTestSession, run, startTestAgent } from '../../plugins/agent/test-agent.ts';
import { listListeners, watchListeners } from '../../plugins/stats/guest/ports.ts';
import { hostAgent, testVm } from '../../plugins/stats/guest/testing/agents.ts';
import type { ListenerSnapshot } from '../../plugins/stats/capability.ts';
import { repoRoot } from '../../test/support/source-tree.ts';
import { waitFor } from '../../test/support/wait.ts';

const agent = join(repoRoot, 'dist/native/agent-asan');
beforeAll(() => {
  execFileSync('sh', [join(repoRoot, 'scripts/build-native.sh'), '--asan'], { cwd: repoRoot });
}, 400_000);

const signal = new AbortController().signal;
const listed = (): Promise<ListenerSnapshot> => listListeners(hostAgent(), testVm, { signal, limitMs: 60_000 });
const listening = (server: Server, port = 0, host = '127.0.0.1'): Promise<number> => new Promise((resolve, reject) => {
  server.once('error', reject).listen(port, host, () => resolve((server.address() as AddressInfo).port));
});
/** Closed with the test. */
function server(): Server {
  const made = createServer();
  onTestFinished(() => void made.close());
  return made;
}

describe('on this host', () => {
  test('tells of TCP sockets that listen and UDP sockets that are bound, with their process', async () => {
    const [v4, v6] = [await listening(server()), await listening(server(), 0, '::1')];
    const [bound, connected] = [createSocket('udp4'), createSocket('udp4')];
    onTestFinished(() => {
      bound.close();
      connected.close();
    });
    await new Promise<void>((resolve) => bound.bind(0, '127.0.0.1', resolve));
    await new Promise<void>((resolve) => connected.connect(bound.address().port, '127.0.0.1', resolve));
    const { listeners } = await listed();
    // Vitest's workers call themselves by names of their own.
    const me = { uid: process.getuid!(), pid: process.pid, process: expect.stringMatching(/./) as string };
    expect(listeners).toContainEqual({ protocol: 'tcp', address: '127.0.0.1', port: v4, ...me });
    expect(listeners).toContainEqual({ protocol: 'tcp', address: '::1', port: v6, ...me });
    expect(listeners).toContainEqual({ protocol: 'udp', address: '127.0.0.1', port: bound.address().port, ...me });
    expect(listeners.filter(({ protocol, port }) => protocol === 'udp' && port === connected.address().port)).toEqual([]);
  });

  test('agrees with the kernel on every listener', async () => {
    const servers = await Promise.all(Array.from({ length: 200 }, () => listening(server())));
    const found = new Set((await listed()).listeners.filter(({ protocol }) => protocol === 'tcp').map(({ port }) => port));
    expect(servers.filter((port) => !found.has(port))).toEqual([]);
    const rows = ['tcp', 'tcp6'].flatMap((name) => readFileSync(`/proc/net/${name}`, 'utf8').split('\n').slice(1)).filter((row) => / 0A /.test(row));
    const kernel = new Set(rows.map((row) => Number.parseInt(/:([\dA-F]{4}) /.exec(row)![1]!, 16)));
    expect(found).toEqual(kernel);
  });

  test('does not tell of what its agent listens on for the host', async () => {
    const real = await startTestAgent(agent);
    onTestFinished(() => real.stop());
    const { session, ready } = await openTestSession(real.socketPath);
    await ready();
    const listener = await openListener(session, { host: '127.0.0.1', port: 0 }, { subject: 'devbox', signal, onConnection: () => undefined });
    const other = await listening(server());
    const { stdout, exit } = await collect(await run(session, ['ports'], { builtin: true }));
    expect(exit).toEqual({ code: 0 });
    expect(stdout).toMatch(new RegExp(`^tcp 4 7f000001 ${other} `, 'm'));
    expect(stdout).not.toContain(` ${listener.port} `);
    const lines = stdout.trimEnd().split('\n');
    expect(lines.at(-1)).toBe(`end ${lines.length - 1} 0`);
    // Asked by somebody else it is found by its process.
    expect((await listed()).listeners.map(({ port }) => port)).not.toContain(listener.port);
    session.close();
  });
});

describe('watching', () => {
  interface Watch { readonly child: ChildProcess; readonly snapshots: string[]; last(): string }
  function watch(...words: string[]): Watch {
    const child = spawn(agent, ['ports', '--watch', ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
    onTestFinished(() => void child.kill('SIGKILL'));
    let text = '';
    const snapshots: string[] = [];
    child.stdout!.setEncoding('latin1').on('data', (chunk: string) => {
      text += chunk;
      for (let end; (end = /^end .*\n/m.exec(text)) !== null; text = text.slice(end.index + end[0].length)) snapshots.push(text.slice(0, end.index + end[0].length));
    });
    return { child, snapshots, last: () => snapshots.at(-1) ?? '' };
  }

  test('tells when a port opens and when it closes, again and again', async () => {
    const seen = watch();
    await waitFor('the first snapshot', () => seen.snapshots.length > 0);
    for (let i = 0; i < 5; i += 1) {
      const made = createServer();
      const port = await listening(made);
      const row = new RegExp(`^tcp 4 7f000001 ${port} ${process.getuid!()} ${process.pid} `, 'm');
      await waitFor('it to be told of', () => row.test(seen.last()));
      await new Promise((resolve) => { made.close(resolve); });
      await waitFor('its end to be told', () => !row.test(seen.last()));
    }
  });

  test('goes through the host side, and ends when that does', async () => {
    const seen: ListenerSnapshot[] = [];
    const stop = new AbortController();
    const done = watchListeners(hostAgent(), testVm, { signal: stop.signal, limitMs: 60_000, onChange: (snapshot) => { seen.push(snapshot); } });
    const port = await listening(server());
    await waitFor('the port', () => seen.at(-1)?.listeners.some((listener) => listener.port === port));
    stop.abort();
    await done;
  });

  test('finds the process of what is new, and forgets none that lives', async () => {
    const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
    onTestFinished(() => void child.kill('SIGKILL'));
    const pid = await waitFor('the process', () => child.pid);
    holder(2, 'kthreadd\n', []);
    holder(pid, 'server\n', ['socket:[5]', 'socket:[6]']);
    put({ tcp: [row('0100007F:0016', '0A', 5)] });
    const seen = watch(proc);
    await waitFor('the first snapshot', () => seen.last() === `tcp 4 7f000001 22 0 ${pid} server\nend 1 0\n`);
    // It is not asked again for what it is known to hold, and one that had nothing can have something.
    rmSync(join(proc, String(pid), 'fd/0'));
    symlinkSync('socket:[7]', join(proc, '2/fd/0'));
    put({ tcp: [row('0100007F:0016', '0A', 5), row('0100007F:0017', '0A', 6), row('0100007F:0018', '0A', 7), row('0100007F:0019', '0A', 8)] });
    await waitFor('what is new', () => seen.last() === `tcp 4 7f000001 22 0 ${pid} server\ntcp 4 7f000001 23 0 ${pid} server\ntcp 4 7f000001 24 0 2 kthreadd\ntcp 4 7f000001 25 0 0 -\nend 4 0\n`);
  });

  test('ends when nobody reads any more, and by HUP', async () => {
    const deaf = watch();
    await waitFor('the first snapshot', () => deaf.snapshots.length > 0);
    deaf.child.stdout!.destroy();
    await waitFor('its end', () => deaf.child.exitCode !== null || deaf.child.signalCode !== null);
    const hungUp = watch();
    await waitFor('the first snapshot', () => hungUp.snapshots.length > 0);
    hungUp.child.kill('SIGHUP');
    await waitFor('its end', () => hungUp.child.signalCode === 'SIGHUP');
  });

  test('says nothing while nothing changes', async () => {
    put({ tcp: [row('0100007F:0016', '0A', 5)] });
    const seen = watch(proc);
    await waitFor('the first snapshot', () => seen.snapshots.length > 0);
    put({ tcp: [row('0100007F:0016', '0A', 5), row('0100007F:0017', '01', 6)] });
    put({ tcp: [row('0100007F:0016', '0A', 5), row('0100007F:0018', '0A', 7)] });
    await waitFor('a change', () => seen.last().includes(' 24 '));
    expect(seen.snapshots).toEqual(['tcp 4 7f000001 22 0 0 -\nend 1 0\n', 'tcp 4 7f000001 22 0 0 -\ntcp 4 7f000001 24 0 0 -\nend 2 0\n']);
  });
});

// ---- files in place of /proc ---------------------------------------------------------------------------------------------------------

let dir: string;
let proc: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'banger-ports-'));
  proc = join(dir, 'proc');
  mkdirSync(join(proc, 'net'), { recursive: true });
  mkdirSync(join(proc, 'self'));
  for (const name of ['ours', 'node', 'other']) writeFileSync(join(dir, name), '');
  symlinkSync(join(dir, 'ours'), join(proc, 'self/exe'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const row = (local: string, state: string, inode: number, uid = 0): string =>
  `   0: ${local} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000 ${String(uid).padStart(5)}        0 ${inode} 1 0000000000000000 100 0 0 10 0`;
function put(files: Readonly<Record<string, readonly string[]>>): void {
  for (const [name, rows] of Object.entries(files)) writeFileSync(join(proc, 'net', name), ['  sl  local_address rem_address   st', ...rows, ''].join('\n'), 'latin1');
}
function holder(pid: number, comm: Buffer | string, links: readonly string[], exe = 'other'): void {
  mkdirSync(join(proc, String(pid), 'fd'), { recursive: true });
  writeFileSync(join(proc, String(pid), 'comm'), comm);
  symlinkSync(join(dir, exe), join(proc, String(pid), 'exe'));
  links.forEach((link, n) => symlinkSync(link, join(proc, String(pid), 'fd', String(n))));
}
function ports(): string[] {
  const { status, stdout, stderr } = spawnSync(agent, ['ports', proc], { encoding: 'latin1', maxBuffer: 1 << 26 });
  expect([status, stderr]).toEqual([0, '']);
  expect(stdout.endsWith('\n')).toBe(true);
  return stdout.slice(0, -1).split('\n');
}

describe('files in place of /proc', () => {
  test('rows become lines, in order; the agent knows no name where there is none', () => {
    put({
      tcp: [row('00000000:1F90', '0A', 11, 1000), row('0100007F:0016', '0A', 10)],
      tcp6: [row('B80D0120000000000000000001000000:0050', '0A', 12, 4_294_967_295)],
      udp: [row('00000000:0044', '07', 13), row('0100007F:0045', '01', 14)], udp6: [row(`${'0'.repeat(32)}:0222`, '07', 15)],
    });
    expect(ports()).toEqual([
      'tcp 4 7f000001 22 0 0 -', 'tcp 6 20010db8000000000000000000000001 80 4294967295 0 -', 'tcp 4 00000000 8080 1000 0 -',
      'udp 4 00000000 68 0 0 -', `udp 6 ${'0'.repeat(32)} 546 0 0 -`, 'end 5 0',
    ]);
  });

  test('a guest without IPv6, or without all of it', () => {
    expect(ports()).toEqual(['end 0 0']);
    put({ tcp: [row('0100007F:0016', '0A', 10)] });
    expect(ports()).toEqual(['tcp 4 7f000001 22 0 0 -', 'end 1 0']);
  });

  test('reading ends at the first connection', () => {
    put({ tcp: [row('0100007F:0016', '0A', 10), ...Array.from({ length: 100_000 }, (_, i) => row('0100007F:0017', '01', 20 + i)), row('0100007F:0018', '0A', 11)] });
    expect(ports()).toEqual(['tcp 4 7f000001 22 0 0 -', 'end 1 0']);
  });

  test('sockets of the same address and port are one', () => {
    put({ tcp: Array.from({ length: 50 }, (_, i) => row('00000000:0050', '0A', 90 - i)) });
    holder(7, 'nginx\n', ['socket:[41]']);
    expect(ports()).toEqual(['tcp 4 00000000 80 0 7 nginx', 'end 1 0']);
  });

  test('no more than 2,048 are told, and how many more there are', () => {
    put({ tcp: Array.from({ length: 2000 }, (_, i) => row(`0100007F:${(i + 1).toString(16).toUpperCase().padStart(4, '0')}`, '0A', i + 1)), udp: Array.from({ length: 1000 }, (_, i) => row(`0100007F:${(i + 1).toString(16).toUpperCase().padStart(4, '0')}`, '07', 5000 + i)) });
    const lines = ports();
    expect([lines.length, lines.at(-1)]).toEqual([2049, 'end 2048 952']);
    expect(lines.filter((line) => line.startsWith('tcp')).length).toBe(2000);
  });

  test('the process that holds it: the first found, but no init that made it for another', () => {
    put({ tcp: [row('00000000:0001', '0A', 101), row('00000000:0002', '0A', 102), row('00000000:0003', '0A', 103), row('00000000:0004', '0A', 104)] });
    holder(1, 'systemd\n', ['socket:[101]', 'socket:[102]']);
    holder(50, 'sshd\n', ['/dev/null', 'pipe:[101]', 'socket:[102]', 'socket:[103]', 'socket:[1]', 'socket:[', 'socket:[-102]']);
    expect(ports()).toEqual(['tcp 4 00000000 1 0 1 systemd', 'tcp 4 00000000 2 0 50 sshd', 'tcp 4 00000000 3 0 50 sshd', 'tcp 4 00000000 4 0 0 -', 'end 4 0']);
  });

  test.each<[string, Buffer | string, string]>([
    ['spaces, percent signs and line ends', 'a b%c\nd\n', 'a%20b%25c%0Ad'], ['any bytes', Buffer.from([0xff, 0x1b, 0x7f, 0x0a]), '%FF%1B%7F'], ['nothing', '\n', '-'], ['a line that is too long', 'x'.repeat(500), 'x'.repeat(31)],
    ["node's main thread", 'MainThread\n', 'node'],
  ])('a process is called by %s', (_what, comm, name) => {
    put({ tcp: [row('00000000:0001', '0A', 101)] });
    holder(9, comm, ['socket:[101]'], 'node');
    expect(ports()[0]).toBe(`tcp 4 00000000 1 0 9 ${name}`);
  });

  test('names end at 20,000 descriptors', () => {
    put({ tcp: [row('00000000:0001', '0A', 101), row('00000000:0002', '0A', 102)] });
    const links = Array.from({ length: 10_001 }, () => '/dev/null');
    for (const pid of [10, 11]) holder(pid, 'many\n', links);
    holder(12, 'late\n', ['socket:[101]', 'socket:[102]']);
    const lines = ports();
    // The order of a directory's entries is its file system's: late is before both, or after one.
    expect(['tcp 4 00000000 1 0 0 -', 'tcp 4 00000000 1 0 12 late']).toContain(lines[0]);
    expect(lines.at(-1)).toBe('end 2 0');
  });

  test('gets over rows that no kernel writes', () => {
    // The same lines in each run.
    let state = 11;
    const below = (limit: number): number => {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      return Math.floor(state / 65_536) % limit;
    };
    const good = row('0100007F:0016', '0A', 10);
    const bent = (): string => {
      const bytes = Buffer.from(good.repeat(1 + below(2)), 'latin1');
      for (let n = below(4); n >= 0; n -= 1) bytes[below(bytes.length)] = below(2) === 0 ? below(256) : 48 + below(10);
      return bytes.toString('latin1').slice(0, 1 + below(bytes.length));
    };
    for (let round = 0; round < 20; round += 1) {
      put(Object.fromEntries(['tcp', 'tcp6', 'udp', 'udp6'].map((name) => [name, [good, ...Array.from({ length: 100 }, bent), 'x'.repeat(below(20_000))]])));
      const lines = ports();
      expect(lines.filter((line) => line.startsWith('tcp 4 7f000001 22 '))).toHaveLength(1);
      for (const line of lines.slice(0, -1)) expect(line).toMatch(/^(tcp|udp) (4 [\da-f]{8}|6 [\da-f]{32}) \d{1,5} \d{1,10} 0 -$/);
    }
    for (const text of ['', '\n', '\0', 'no line end', `${'y'.repeat(9000)}\n`]) {
      writeFileSync(join(proc, 'net/tcp'), text);
      expect(ports().at(-1)).toMatch(/^end \d+ 0$/);
    }
  });

  test('knows its words', () => {
    for (const words of [['x'], ['--watch', 'x'], [proc, 'x'], ['--watch', proc, 'x'], [`/${'x'.repeat(5000)}`]]) {
      const { status, stderr } = spawnSync(agent, ['ports', ...words], { encoding: 'latin1' });
      expect([status, stderr]).toEqual([2, 'usage: agent ports [--watch]\n']);
    }
  });
});
