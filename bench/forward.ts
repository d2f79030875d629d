// A forwarded port against the same server on the host's loopback, in turn: new connections, round trips on an open one, and both directions in bulk.
// What differs is the daemon, the agent and the guest's own network stack in between; the server's own speed is in both.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { pairs, report, summarize } from './stats.ts';
import type { PairResult } from './stats.ts';
import { makeHost } from '../test/support/host.ts';
import type { Host } from '../test/support/host.ts';
import { waitFor } from '../test/support/wait.ts';

const count = Number(process.env['BENCH_RUNS'] ?? 50);
const bulkCount = Number(process.env['BENCH_BULK_RUNS'] ?? 5);
const bulkBytes = Number(process.env['BENCH_MIB'] ?? 64) * 2 ** 20;
const appearances = Number(process.env['BENCH_APPEARANCES'] ?? 10);
const port = 7000;

// The first byte says what is wanted: E echoes, S <length> sends so much, R <length> takes so much and says one byte. Lengths are 4 bytes, big endian.
const server = `
import socket,sys,threading
def exact(c,n):
    b=b""
    while len(b)<n:
        d=c.recv(n-len(b))
        if not d: return b
        b+=d
    return b
def serve(c):
    c.setsockopt(socket.IPPROTO_TCP,socket.TCP_NODELAY,1)
    m=c.recv(1)
    if m==b"E":
        while True:
            d=c.recv(65536)
            if not d: break
            c.sendall(d)
    elif m in (b"S",b"R"):
        n=int.from_bytes(exact(c,4),"big"); z=bytes(65536)
        while n>0:
            if m==b"S":
                k=min(n,65536); c.sendall(z[:k])
            else:
                k=len(c.recv(65536))
                if k==0: break
            n-=k
        if m==b"R": c.sendall(b".")
    c.close()
s=socket.socket(); s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1); s.bind(("127.0.0.1",int(sys.argv[1]))); s.listen(64)
print(s.getsockname()[1],flush=True)
while True: threading.Thread(target=serve,args=(s.accept()[0],),daemon=True).start()
`;

interface Place { readonly host: string; readonly port: number }

async function open(place: Place, first: Buffer): Promise<Socket> {
  const socket = connect({ ...place, noDelay: true });
  await once(socket, 'connect');
  socket.write(first);
  return socket;
}
const bulk = (mode: 'S' | 'R'): Buffer => {
  const head = Buffer.alloc(5, mode);
  head.writeUInt32BE(bulkBytes, 1);
  return head;
};
async function roundTrip(socket: Socket): Promise<void> {
  const answer = once(socket, 'data');
  socket.write('x');
  await answer;
}
async function connection(place: Place): Promise<void> {
  const socket = await open(place, Buffer.from('E'));
  await roundTrip(socket);
  socket.destroy();
}
async function fromServer(place: Place): Promise<void> {
  const socket = await open(place, bulk('S'));
  let left = bulkBytes;
  for await (const chunk of socket) left -= (chunk as Buffer).length;
  if (left !== 0) throw new Error(`${left} bytes are missing`);
}
async function toServer(place: Place): Promise<void> {
  const socket = await open(place, bulk('R'));
  const done = once(socket, 'data');
  const chunk = Buffer.alloc(65_536);
  for (let left = bulkBytes; left > 0; left -= chunk.length) if (!socket.write(chunk)) await once(socket, 'drain');
  await done;
  socket.destroy();
}

/** Asked of this host's kernel: connections would keep the guest busy. */
function isOpen(place: Place): boolean {
  const hex = place.host.split('.').toReversed().map((part) => Number(part).toString(16).padStart(2, '0')).join('');
  return readFileSync('/proc/net/tcp', 'utf8').includes(` ${hex}:${place.port.toString(16).padStart(4, '0')} 00000000:0000 0A `.toUpperCase());
}
async function until(isSo: () => boolean, began: number): Promise<number> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 5));
  return performance.now() - began;
}
/** From the guest's word that it listens, or no more, to a listener here, or none. */
async function appear(host: Host, address: string): Promise<object> {
  const [opened, closed]: [number[], number[]] = [[], []];
  for (let n = 0; n < appearances; n += 1) {
    const place = { host: address, port: 7100 + n };
    const child = host.spawnCli(['vm', 'exec', 'bench', '--', 'python3', '-c',
      'import socket,sys;s=socket.socket();s.bind(("",int(sys.argv[1])));s.listen();print("up",flush=True);sys.stdin.read();s.close();print("down",flush=True)', String(place.port)]);
    await once(child.stdout!, 'data');
    opened.push(await until(() => isOpen(place), performance.now()));
    const down = once(child.stdout!, 'data');
    child.stdin!.end();
    await down;
    closed.push(await until(() => !isOpen(place), performance.now()));
  }
  return { opened: summarize(opened), closed: summarize(closed) };
}

const rounded = (value: number): number => Math.round(value * 100) / 100;
const added = (pair: PairResult): object => ({ ...pair, p50AddedMs: rounded(pair.subject.p50Ms - pair.baseline.p50Ms) });
const throughput = (pair: PairResult): object =>
  ({ ...pair, forwardedMiBps: rounded(bulkBytes / 2 ** 20 / (pair.subject.p50Ms / 1000)), directMiBps: rounded(bulkBytes / 2 ** 20 / (pair.baseline.p50Ms / 1000)) });

const host = await makeHost();
const local = spawn('python3', ['-c', server, '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
try {
  const [line] = await once(local.stdout, 'data') as [Buffer];
  const direct: Place = { host: '127.0.0.1', port: Number(line.toString()) };
  await host.ok(['vm', 'run', '--name', 'bench', '-d']);
  await host.ok(['vm', 'exec', 'bench', '--', 'sh', '-c', 'setsid python3 -c "$0" "$1" >/dev/null 2>&1 </dev/null &', server, String(port)]);
  const { address } = (await host.vm('bench')).sections['usernet'] as { address: string };
  const forwarded: Place = { host: address, port };
  await waitFor('the automatic forward', async () => { await connection(forwarded); return true; });
  const [far, near] = [await open(forwarded, Buffer.from('E')), await open(direct, Buffer.from('E'))];
  report('forward', {
    forwardAppears: await appear(host, address),
    baseline: "the same server as a process of the host, on the host's 127.0.0.1",
    connectAndRoundTrip: added(await pairs(count, () => connection(forwarded), () => connection(direct))),
    roundTrip: added(await pairs(count * 4, () => roundTrip(far), () => roundTrip(near))),
    fromGuest: { bytes: bulkBytes, ...throughput(await pairs(bulkCount, () => fromServer(forwarded), () => fromServer(direct))) },
    toGuest: { bytes: bulkBytes, ...throughput(await pairs(bulkCount, () => toServer(forwarded), () => toServer(direct))) },
  });
  far.destroy();
  near.destroy();
} finally {
  local.kill('SIGKILL');
  await host.dispose();
}
