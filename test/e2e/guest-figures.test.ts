// What the agent of a real guest says of it, against what the guest's kernel says: figures, what listens, the clock, datagrams.
// In these guests the agent is PID 1, so its programs can be run by exec, as root and as others.
import type { ChildProcess } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseSnapshot, SnapshotSplitter } from '../../plugins/stats/guest/snapshots.ts';
import { parseStat } from '../../plugins/stats/guest/stat.ts';
import type { GuestFigures } from '../../plugins/stats/guest/stat.ts';
import type { ListenerSnapshot } from '../../plugins/stats/capability.ts';
import { makeHost, type Host } from '../support/host.ts';
import { waitFor } from '../support/wait.ts';

let host: Host;
const running: ChildProcess[] = [];
beforeAll(async () => {
  host = await makeHost();
  // The daemon would follow its ports beside us.
  await host.ok(['vm', 'run', '--name', 'seen', '--no-auto-ports', '-d']);
});
afterAll(async () => {
  for (const child of running) child.kill('SIGKILL');
  await host.dispose();
});

const guest = async (...words: string[]): Promise<string> => (await host.ok(['vm', 'exec', 'seen', '--', ...words])).out;
const shell = (script: string): Promise<string> => guest('sh', '-ec', script);
const agent = (...words: string[]): Promise<string> => guest('/proc/1/exe', ...words);

/** Left running until the end; `text` is what it has said so far. */
function start(...words: string[]): { readonly child: ChildProcess; text(): Buffer } {
  const child = host.spawnCli(['vm', 'exec', 'seen', '--', ...words]);
  const parts: Buffer[] = [];
  child.stdout!.on('data', (chunk: Buffer) => parts.push(chunk));
  child.stdin!.on('error', () => undefined);
  running.push(child);
  return { child, text: () => Buffer.concat(parts) };
}

function snapshots(text: string): ListenerSnapshot[] {
  return new SnapshotSplitter().push(text)!.map((lines) => parseSnapshot(lines)!);
}

describe('figures', () => {
  /** The same facts by the guest's own tools. */
  async function facts() {
    const text = await shell('head -1 /proc/stat; cut -d" " -f1 /proc/uptime; cat /sys/class/net/eth0/statistics/rx_bytes /sys/class/net/eth0/statistics/tx_bytes; '
      + 'for at in / /root; do stat -f -c "%S %b %f %a %c %d" $at; done; grep -E "^(MemTotal|MemAvailable):" /proc/meminfo; grep btime /proc/stat');
    const [cpu = '', uptime, rx, tx, root = '', home = '', total = '', available = '', btime = ''] = text.split('\n');
    const ticks = cpu.split(/ +/).slice(1).map(Number);
    const disk = (line: string) => {
      const [size = 0, blocks = 0, free = 0, users = 0, inodes = 0, freeInodes = 0] = line.split(' ').map(Number);
      return { totalBytes: size * blocks, usedBytes: size * (blocks - free), availableBytes: size * users, inodes, freeInodes };
    };
    const kb = (line: string): number => Number(/\d+/.exec(line)![0]) * 1024;
    const [user = 0, nice = 0, system = 0, idle = 0, waiting = 0, irq = 0, softirq = 0, stolen = 0] = ticks;
    return {
      busy: (user + nice + system + irq + softirq) / 100, idle: (idle + waiting) / 100, stolen: stolen / 100, uptime: Number(uptime), rx: Number(rx), tx: Number(tx),
      root: disk(root), home: disk(home), total: kb(total), available: kb(available), bootedAtMs: Number(btime.split(' ')[1]) * 1000,
    };
  }
  const ask = async (): Promise<GuestFigures> => parseStat({ name: 'seen' }, Buffer.from(await agent('stat')).toString('latin1'));

  test('lie between those that the kernel gave just before and just after, also under load', async () => {
    for (const load of ['', 'dd if=/dev/zero of=/root/filled bs=1M count=64 2>/dev/null; dd if=/dev/zero of=/filled bs=1M count=16 2>/dev/null; sync; timeout 5 sh -c "while :; do :; done" || true; curl -s -m 5 http://192.0.2.1/ || true']) {
      if (load !== '') await shell(load);
      const before = await facts();
      const found = await ask();
      const after = await facts();
      expect(found.odd).toEqual([]);
      const between: [string, number | undefined, number, number][] = [
        ['busy', found.cpu?.busySeconds, before.busy, after.busy], ['idle', found.cpu?.idleSeconds, before.idle, after.idle], ['stolen', found.cpu?.stolenSeconds, before.stolen, after.stolen],
        ['uptime', found.uptimeSeconds, before.uptime, after.uptime], ['received', found.network?.rxBytes, before.rx, after.rx], ['sent', found.network?.txBytes, before.tx, after.tx],
      ];
      for (const [what, value = Number.NaN, low, high] of between) expect([what, value >= low && value <= high, value, low, high]).toEqual([what, true, value, low, high]);
      expect(found.bootedAtMs).toBe(before.bootedAtMs);
      expect(found.memory!.totalBytes).toBe(before.total);
      // What is available changes by what the commands themselves take: within 16 MiB of either.
      expect(found.memory!.availableBytes).toBeGreaterThan(Math.min(before.available, after.available) - (16 << 20));
      expect(found.memory!.availableBytes).toBeLessThan(Math.max(before.available, after.available) + (16 << 20));
      // Nothing writes meanwhile but the file system itself (within 1 MiB).
      for (const [path, was, is] of [['/', before.root, after.root], ['/root', before.home, after.home]] as const) {
        const disk = found.fileSystems.find((candidate) => candidate.path === path)!;
        expect([disk.totalBytes, disk.inodes]).toEqual([was.totalBytes, was.inodes]);
        expect(disk.usedBytes).toBeGreaterThanOrEqual(Math.min(was.usedBytes, is.usedBytes) - (1 << 20));
        expect(disk.usedBytes).toBeLessThanOrEqual(Math.max(was.usedBytes, is.usedBytes) + (1 << 20));
      }
    }
  });

  test('follow what is written and computed', async () => {
    const before = await ask();
    await shell('dd if=/dev/zero of=/root/more bs=1M count=100 2>/dev/null; sync; timeout 3 sh -c "while :; do :; done" || true');
    const after = await ask();
    const used = (figures: GuestFigures): number => figures.fileSystems.find(({ path }) => path === '/root')!.usedBytes;
    const grown = used(after) - used(before);
    expect(grown).toBeGreaterThanOrEqual(100 << 20);
    expect(grown).toBeLessThan(104 << 20);
    const [busy, time] = [after.cpu!.busySeconds - before.cpu!.busySeconds, after.uptimeSeconds! - before.uptimeSeconds!];
    // Three seconds of one CPU by the guest's clock, less what the host did not give.
    expect(busy + (after.cpu!.stolenSeconds - before.cpu!.stolenSeconds)).toBeGreaterThan(2);
    expect(busy).toBeLessThan(time + 1);
  });
});

describe('what listens', () => {
  const server = (port: number, address: string, family = 'AF_INET'): string =>
    `import socket,time\ns=socket.socket(socket.${family})\ns.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)\ns.bind((${JSON.stringify(address)},${port}))\ns.listen()\nprint("up",flush=True)\n`;
  const stay = 'time.sleep(10000)';

  test('is what ss says', async () => {
    const many = start('python3', '-c', [
      server(3000, '0.0.0.0'), 'keep=[s]\n', server(3001, '127.0.0.1'), 'keep.append(s)\n', server(3002, '::1', 'AF_INET6'), 'keep.append(s)\n', server(3003, '::', 'AF_INET6'), 'keep.append(s)\n',
      'u=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\nu.bind(("127.0.0.1",5353))\nc=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\nc.connect(("127.0.0.1",5353))\n', 'print("all",flush=True)\n', stay,
    ].join(''));
    await waitFor('the servers', () => many.text().includes('all'));
    const [found] = snapshots(await agent('ports'));
    const ss = await shell('ss -Hltnp; ss -Hlunp');
    const theirs = ss.split('\n').filter((line) => line !== '').map((line) => {
      const [, , , local = '', , users = ''] = line.trim().split(/ +/);
      const match = /^(?:\[(.+)\]|(.+?))(?:%\w+)?:(\d+)$/.exec(local)!;
      const user = /\("([^"]+)",pid=(\d+)/.exec(users);
      const address = match[1] ?? (match[2] === '*' ? '::' : match[2]);
      return `${line.startsWith('LISTEN') ? 'tcp' : 'udp'} ${address} ${match[3]} ${user?.[2] ?? '-'} ${user?.[1] ?? '-'}`;
    });
    const ours = found!.listeners.map(({ protocol, address, port, pid, process }) => `${protocol} ${address} ${port} ${pid ?? '-'} ${process ?? '-'}`);
    expect(ours.toSorted()).toEqual(theirs.toSorted());
    expect(ours.filter((line) => line.endsWith(' python3')).map((line) => line.split(' ').slice(0, 3).join(' '))).toEqual(
      ['tcp 0.0.0.0 3000', 'tcp 127.0.0.1 3001', 'tcp ::1 3002', 'tcp :: 3003', 'udp 127.0.0.1 5353']);
    expect(found!.more).toBe(0);
  });

  test('is told when it opens and closes, 30 times', async () => {
    const watch = start('/proc/1/exe', 'ports', '--watch');
    const last = (): number[] => snapshots(watch.text().toString('latin1')).at(-1)?.listeners.map(({ port }) => port) ?? [];
    await waitFor('the first snapshot', () => watch.text().includes('end '));
    const flip = start('python3', '-c', `import sys,socket\nfor line in sys.stdin:\n  ${server(4000, '0.0.0.0').trim().replaceAll('\n', '\n  ')}\n  sys.stdin.readline()\n  s.close()\n`);
    for (let i = 0; i < 30; i += 1) {
      flip.child.stdin!.write('open\n');
      await waitFor('it to be told of', () => last().includes(4000));
      flip.child.stdin!.write('close\n');
      await waitFor('its end to be told', () => !last().includes(4000));
    }
    expect(await shell('ps -eo args | grep -c "[p]orts --watch"')).toBe('1\n');
    watch.child.kill('SIGKILL');
    await waitFor('the program to be gone from the guest', async () => (await shell('ps -eo args | grep -c "[p]orts --watch" || true')) === '0\n');
  });

  test('2,000 listeners and 1,000 connections: all within the limit, the rest counted', async () => {
    const storm = start('python3', '-c', 'import socket,time,resource\nresource.setrlimit(resource.RLIMIT_NOFILE,(8000,8000))\nkeep=[]\n'
      + 'for i in range(2500):\n  s=socket.socket()\n  s.bind(("127.0.0.1",10000+i))\n  s.listen()\n  keep.append(s)\n'
      + 'for i in range(1000):\n  c=socket.create_connection(("127.0.0.1",10000+i))\n  keep.append(c)\nprint("all",flush=True)\ntime.sleep(10000)');
    await waitFor('the storm', () => storm.text().includes('all'), 120_000);
    const [found] = snapshots(await agent('ports'));
    expect(found!.listeners.length).toBe(2048);
    expect(found!.more).toBeGreaterThanOrEqual(452);
    storm.child.kill('SIGKILL');
    await waitFor('its end', async () => snapshots(await agent('ports'))[0]!.listeners.every(({ port }) => port < 10_000), 120_000);
  });
});

describe('the clock', () => {
  const now = async (): Promise<number> => Number(await shell('date +%s%3N'));

  test('is put where the host says, by root alone', async () => {
    const hour = 3_600_000;
    const target = Date.now() + hour;
    const forward = Number(await agent('clock', 'set', `${target}000000`));
    const first = await now();
    // It went on from there, and no further than the time that has passed here.
    expect(first).toBeGreaterThanOrEqual(target);
    expect(first - target).toBeLessThanOrEqual(Date.now() + hour - target + 1000);
    expect(forward / 1e6).toBeGreaterThan(hour - 300_000);
    await shell('cp /proc/1/exe /tmp/agent');
    const refused = await host.banger(['vm', 'exec', '--user', 'nobody', 'seen', '--', '/tmp/agent', 'clock', 'set', '0']);
    expect([refused.code, refused.err]).toEqual([1, 'clock: Operation not permitted\n']);
    expect(Number(await agent('clock', 'set', `${Date.now()}000000`))).toBeLessThan(0);
    expect(Math.abs(await now() - Date.now())).toBeLessThan(120_000);
  });
});

describe('datagrams', () => {
  test('reach a server in the guest, and its answers come back to their clients', async () => {
    const echo = start('python3', '-c', 'import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.bind(("127.0.0.1",5354))\nprint("up",flush=True)\nwhile True:\n  d,a=s.recvfrom(65535)\n  s.sendto(b"echo:"+d,a)');
    await waitFor('the server', () => echo.text().includes('up'));
    const relay = start('/proc/1/exe', 'udp', '5354');
    const frame = (client: number, text: string): Buffer => Buffer.concat([Buffer.from(Uint16Array.of(text.length, client).buffer), Buffer.from(text)]);
    relay.child.stdin!.write(Buffer.concat([frame(1, 'one'), frame(2, 'two')]));
    await waitFor('both answers', () => relay.text().length === 24);
    expect(relay.text().toString('latin1')).toMatch(/echo:one/);
    expect(relay.text().toString('latin1')).toMatch(/echo:two/);
    relay.child.stdin!.end();
    await waitFor('its end', () => relay.child.exitCode === 0);
  });
});
