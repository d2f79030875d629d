// Clients that are no clients: what they send is dropped, costs nothing afterwards, and hinders nobody.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { Client } from 'ssh2';
import type { ClientChannel } from 'ssh2';
import { expect, onTestFinished, test } from 'vitest';
import type { GuestExit, GuestProcess } from '../../core/plugin-api.ts';
import { waitFor } from '../../test/support/wait.ts';
import { gatePath, openGate } from './gate.ts';
import { loadSsh2 } from './ssh2-protocol.ts';
import type { Ssh2Protocol } from './ssh2-protocol.ts';
import { makeWorld } from '../../test/support/ssh-world.ts';
import type { World } from '../../test/support/ssh-world.ts';

const banner = 'SSH-2.0-test\r\n';

/** Everything the server sends until it closes. */
function drain(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    socket.on('data', (chunk: Buffer) => { text += chunk.toString('latin1'); });
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(text));
  });
}
function dialGate(world: World): Socket {
  const socket = connect(world.gate);
  socket.on('error', () => undefined);
  onTestFinished(() => { socket.destroy(); });
  return socket;
}
async function expectWell(world: World): Promise<void> {
  await waitFor('the places to be free', () => world.server.limits.unauthenticated === 0);
  expect(await world.run('ssh', ['devbox.vm', 'echo well'])).toMatchObject({ code: 0, out: 'well\n' });
  expect(world.log.filter(({ level }) => level !== 'debug' && level !== 'info')).toEqual([]);
}

test('the gate is for its owner alone, replaces what a killed daemon left, and goes with the daemon', async () => {
  const world = await makeWorld();
  expect(statSync(world.gate).mode & 0o777).toBe(0o600);
  const path = join(world.dir, 'other.sock');
  writeFileSync(path, 'stale');
  const gate = await openGate({ path, server: world.server, vms: { running: async () => world.vm, isPaused: () => false }, log: { debug() {}, info() {}, warn() {}, error() {}, child() { return this; } } });
  expect(statSync(path).isSocket()).toBe(true);
  await gate.close();
  expect(existsSync(path)).toBe(false);
});

test('the gate is beside the sockets of a long state directory', () => {
  expect(gatePath({ stateDir: '/s', socketPath: (vm, name) => `/s/vms/${vm}/${name}.sock` })).toBe('/s/ssh.sock');
  expect(gatePath({ stateDir: '/long', socketPath: (vm, name) => `/tmp/banger-0-ab/${vm}/${name}.sock` })).toBe('/tmp/banger-0-ab/ssh.sock');
});

test.each([
  ['an empty line', '\n', 'error Invalid request: ref: names no VM'],
  ['a line that never ends', 'x'.repeat(300), 'error Invalid request: ref: is longer than 255 bytes'],
  ['a VM that is not there', 'no\u0007where\n', 'error No VM matches no where'],
])('the gate answers %s with a sentence', async (_, text, answer) => {
  const world = await makeWorld();
  const socket = dialGate(world);
  socket.write(text);
  expect(await drain(socket)).toContain(answer);
  await expectWell(world);
});

test('takes the line in pieces, and SSH that follows it at once', async () => {
  const world = await makeWorld();
  const socket = dialGate(world);
  socket.write('dev');
  await new Promise((resolve) => { setImmediate(resolve); });
  socket.write(`box.vm\n${banner}garbage`);
  const text = await drain(socket);
  expect(text.startsWith('ok\nSSH-2.0-banger\r\n')).toBe(true);
  await expectWell(world);
});

test('closes what is no SSH, or half of it, and says nothing louder than debug', async () => {
  const world = await makeWorld();
  const packet = (length: number, rest = Buffer.alloc(0)): Buffer => {
    const head = Buffer.alloc(4);
    head.writeUInt32BE(length);
    return Buffer.concat([Buffer.from(banner), head, rest]);
  };
  const sendings: Buffer[] = [
    Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'), Buffer.from(`junk\r\n${banner}`), Buffer.alloc(20_000, 'A'), Buffer.from('SSH-1.5-old\r\n'), Buffer.from('SSH-2.0-\r\n'),
    packet(0xffff_ffff, Buffer.alloc(64)), packet(0), packet(0x7fff_ffff, Buffer.alloc(64)), packet(40_000, Buffer.alloc(40_000)), packet(12, Buffer.alloc(12, 255)),
    packet(28, Buffer.concat([Buffer.from([4, 20]), Buffer.alloc(26, 255)])), packet(28, Buffer.concat([Buffer.from([4, 50]), Buffer.alloc(26)])),
    ...Array.from({ length: 40 }, () => packet(randomBytes(2).readUInt16BE(), randomBytes(4000))),
    ...Array.from({ length: 20 }, () => randomBytes(3000)),
  ];
  for (const bytes of sendings) {
    const socket = await world.raw();
    const over = drain(socket);
    // Half of them only stop in the middle: there the end of the client counts.
    socket.end(bytes);
    await over;
  }
  await expectWell(world);
});

test('closes who does not authenticate in time: before the line, after it, and in the middle of the handshake', async () => {
  const world = await makeWorld({ config: { handshake_seconds: 1 } });
  const silent = dialGate(world);
  const named = await world.raw();
  const half = await world.raw();
  half.write(banner);
  await Promise.all([drain(silent), drain(named), drain(half)]);
  await expectWell(world);
});

test('1,000 idle connections: no more than allowed wait, the others are closed at once, and nothing of them stays', async () => {
  const world = await makeWorld();
  const answers: string[] = [];
  const sockets: Socket[] = [];
  for (let n = 0; n < 1000; n += 1) {
    const socket = dialGate(world);
    sockets.push(socket);
    void drain(socket).then((text) => answers.push(text));
    // Not all at once: the kernel would refuse what it has no room to queue.
    if (n % 100 === 99) await once(socket, 'connect');
  }
  await waitFor('the refusals', () => answers.length === 968);
  expect(new Set(answers)).toEqual(new Set(['error too many ssh connections have not authenticated yet\n']));
  expect(world.server.limits.unauthenticated).toBe(32);
  for (const socket of sockets) socket.destroy();
  await expectWell(world);
});

/** An authenticated client that may then send what it likes. */
async function login(world: World): Promise<Client> {
  const client = new Client();
  const sock = await world.raw();
  onTestFinished(() => { client.destroy(); });
  await new Promise<void>((resolve, reject) => {
    client.once('ready', resolve).once('error', reject);
    client.connect({ sock, username: 'tester', privateKey: readFileSync(join(world.dir, 'id_ed25519')) });
  });
  client.on('error', () => undefined);
  return client;
}
interface Sending {
  channelData(chan: number, data: Buffer): void;
  channelWindowAdjust(chan: number, bytes: number): void;
  channelClose(chan: number): void;
  channelOpenFail(chan: number, reason: number, text: string): void;
  channelOpenConfirm(chan: number, local: number, window: number, packet: number): void;
  ping(): void;
}
const sendingOf = (client: Client): Sending => (client as unknown as { _protocol: Sending })._protocol;
const closeOf = (client: Client): Promise<void> => new Promise((resolve) => { client.once('close', () => resolve()); });
const shell = (client: Client, line: string): Promise<ClientChannel> => new Promise((resolve, reject) => {
  client.exec(line, (error, channel) => (error ? reject(error) : resolve(channel)));
});

test.each<[string, (client: Client, sending: Sending) => Promise<void> | void]>([
  ['data for a channel that is not open', (_, sending) => sending.channelData(77, Buffer.from('x'))],
  ['the close of one', (_, sending) => sending.channelClose(77)],
  ['the refusal of one nobody asked for', (_, sending) => sending.channelOpenFail(77, 1, 'x')],
  ['the opening of one nobody asked for', (_, sending) => sending.channelOpenConfirm(77, 1, 1, 1)],
  ['more room than a window holds', async (client, sending) => {
    await shell(client, 'sleep 1000');
    for (let n = 0; n < 3; n += 1) sending.channelWindowAdjust(1, 0xffff_ffff);
  }],
  ['more data than it was granted', async (client, sending) => {
    await shell(client, 'sleep 1000');
    for (let n = 0; n < 200; n += 1) sending.channelData(1, Buffer.alloc(32_000));
  }],
])('an authenticated client that sends %s is closed', async (_, act) => {
  const world = await makeWorld();
  const client = await login(world);
  const closed = closeOf(client);
  await act(client, sendingOf(client));
  await closed;
  await waitFor('the connection to be let go', () => world.held() === 0);
  await expectWell(world);
});

test('messages of an authenticated client that are random inside never become an uncaught exception', async () => {
  const uncaught: unknown[] = [];
  const onUncaught = (error: unknown): void => { uncaught.push(error); };
  process.on('uncaughtExceptionMonitor', onUncaught);
  onTestFinished(() => { process.off('uncaughtExceptionMonitor', onUncaught); });
  const world = await makeWorld();
  const { sendPacket } = await loadSsh2();
  for (let round = 0; round < 40; round += 1) {
    const client = await login(world);
    await shell(client, 'cat');
    const protocol = (client as unknown as { _protocol: Ssh2Protocol })._protocol;
    for (let n = 0; n < 20; n += 1) {
      // Types of every layer; half of them about the channel that is open.
      const payload = Buffer.concat([Buffer.from([[80, 90, 91, 92, 93, 94, 96, 97, 98, 99, 50, 5, 1, 20, 21, 30][(round + n) % 16]!]),
        round % 2 === 0 ? Buffer.from([0, 0, 0, 1]) : randomBytes(4), randomBytes(n * 3)]);
      const { write } = protocol._packetRW;
      const packet = write.alloc(payload.length);
      packet.set(payload, write.allocStart);
      sendPacket(protocol, write.finalize(packet), true);
    }
    client.destroy();
  }
  await waitFor('the connections to be let go', () => world.held() === 0);
  await expectWell(world);
  expect(uncaught).toEqual([]);
});

test('channels and connections have their limits', async () => {
  const world = await makeWorld({ config: { max_channels: 3, max_connections: 2 } });
  const client = await login(world);
  await Promise.all([1, 2, 3].map(() => shell(client, 'sleep 1000')));
  await expect(shell(client, 'true')).rejects.toThrow('3 channels are open');
  await login(world);
  const refused = await world.run('ssh', ['devbox.vm', 'true']);
  expect(refused.code).toBe(255);
  expect(refused.err).toContain('VM devbox has 2 ssh connections');
  expect(world.server.limits.connections(world.vm.id)).toBe(2);
});

test('answers a flood of requests without keeping more than a little of it', async () => {
  const world = await makeWorld();
  const client = await login(world);
  const sending = sendingOf(client);
  let replies = 0;
  for (let n = 0; n < 50; n += 1) sending.ping();
  (client as unknown as { _protocol: { _handlers: { REQUEST_FAILURE: () => void } } })._protocol._handlers.REQUEST_FAILURE = () => { replies += 1; };
  await waitFor('the answers', () => replies === 50);
  client.end();
  await waitFor('the connection to be let go', () => world.held() === 0);
});

test('a client that grants gigabytes and reads nothing holds back its command, and the daemon keeps little', async () => {
  let given = 0;
  const stdout = new Readable({ read() { given += 65_536; this.push(Buffer.alloc(65_536)); } });
  const exit = Promise.withResolvers<GuestExit>();
  const endless: GuestProcess = {
    stdin: new PassThrough(), stdout, stderr: Readable.from([]), exit: exit.promise, resize() {}, signal() {}, hangup: () => exit.resolve({ signal: 'HUP', number: 1 }),
  };
  const world = await makeWorld({ agent: { exec: async () => endless } });
  const client = await login(world);
  const channel = await shell(client, 'anything');
  channel.pause();
  sendingOf(client).channelWindowAdjust(1, 0x7000_0000);
  (client as unknown as { _sock: Socket })._sock.pause();
  let before = -1;
  await waitFor('the command to wait', () => {
    const isStill = given === before;
    before = given;
    return isStill;
  });
  expect(given).toBeGreaterThan(0);
  expect(given).toBeLessThan(16 * 1024 * 1024);
  client.destroy();
  await waitFor('the connection to be let go', () => world.held() === 0);
});

test('an end of the daemon tells every client', async () => {
  const world = await makeWorld();
  const child = world.start('ssh', ['devbox.vm', 'echo up; exec sleep 1000']);
  let err = '';
  child.stderr!.on('data', (chunk: Buffer) => { err += chunk.toString(); });
  await new Promise((resolve) => { child.stdout!.once('data', resolve); });
  const silent = await world.raw();
  world.server.close();
  await Promise.all([new Promise((resolve) => { child.once('close', resolve); }), drain(silent)]);
  expect(err).toContain('the daemon of banger has ended');
  expect(world.server.limits.unauthenticated).toBe(0);
});
