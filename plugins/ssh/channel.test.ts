import { PassThrough, Writable } from 'node:stream';
import { expect, test } from 'vitest';
import { channelWindow, SshChannel } from './channel.ts';
import type { ChannelPort, Output } from './channel.ts';

interface Recorder extends ChannelPort { congested: boolean; readonly sent: { output: Output; bytes: string }[]; readonly said: string[] }

function makePort(): Recorder {
  const sent: Recorder['sent'] = [];
  const said: string[] = [];
  return {
    congested: false, sent, said,
    data: (_, bytes, output) => { sent.push({ output, bytes: bytes.toString() }); },
    adjust: (_, bytes) => { said.push(`adjust ${bytes}`); },
    eof: () => { said.push('eof'); }, close: () => { said.push('close'); }, forget: () => { said.push('forget'); },
  };
}
const make = (port: ChannelPort, window = 1000, packetSize = 1000): SshChannel => new SshChannel(port, { local: 1, remote: 2, window, packetSize });
const settle = (): Promise<void> => new Promise((resolve) => { setImmediate(resolve); });

test('sends no more than window and packet allow, both outputs in order', async () => {
  const port = makePort();
  const channel = make(port, 6, 4);
  const done = Promise.all([channel.send('stdout', Buffer.from('abcdefgh')), channel.send('stderr', Buffer.from('12'))]);
  await settle();
  expect(port.sent).toEqual([{ output: 'stdout', bytes: 'abcd' }, { output: 'stdout', bytes: 'ef' }]);
  channel.adjust(3);
  await settle();
  channel.adjust(3);
  expect(await done).toEqual([true, true]);
  expect(port.sent.filter(({ output }) => output === 'stdout').map(({ bytes }) => bytes).join('')).toBe('abcdefgh');
  expect(port.sent.filter(({ output }) => output === 'stderr').map(({ bytes }) => bytes).join('')).toBe('12');
});

test('waits while the connection is congested', async () => {
  const port = makePort();
  port.congested = true;
  const channel = make(port);
  const done = channel.send('stdout', Buffer.from('x'));
  await settle();
  expect(port.sent).toEqual([]);
  port.congested = false;
  channel.wake();
  expect(await done).toBe(true);
});

test('gives up sending when the client closes, and forgets the number once both have', async () => {
  const port = makePort();
  const channel = make(port, 0);
  const done = channel.send('stdout', Buffer.from('x'));
  channel.receiveClose();
  expect(await done).toBe(false);
  expect(port.said).toEqual(['close', 'forget']);
  channel.close();
  expect(port.said).toEqual(['close', 'forget']);
});

test('keeps what comes before there is a sink, in order, and then its end', async () => {
  const channel = make(makePort());
  channel.receive(Buffer.from('a'));
  channel.receive(Buffer.from('b'));
  channel.receiveEof();
  const sink = new PassThrough();
  channel.attach(sink);
  await channel.inputEnded;
  expect(sink.read()?.toString()).toBe('ab');
});

test('grants room only for what the sink has taken', async () => {
  const port = makePort();
  const channel = make(port);
  const taken: (() => void)[] = [];
  channel.attach(new Writable({ highWaterMark: 1, write: (_, __, done) => { taken.push(done); } }));
  const half = Buffer.alloc(channelWindow / 2);
  channel.receive(half);
  channel.receive(half);
  expect(port.said).toEqual([]);
  expect(() => channel.receive(Buffer.from('x'))).toThrow('more than its window');
  taken.shift()!();
  await settle();
  expect(port.said).toEqual([`adjust ${half.length}`]);
});

test('lets the client send on to a sink that has failed', async () => {
  const port = makePort();
  const channel = make(port);
  const sink = new PassThrough();
  channel.attach(sink);
  sink.destroy(new Error('gone'));
  await settle();
  channel.receive(Buffer.alloc(channelWindow));
  expect(port.said).toEqual([`adjust ${channelWindow}`]);
});

test('does not let the client grant more than a window holds, nor send after its end', () => {
  const channel = make(makePort());
  expect(() => channel.adjust(0xffff_ffff)).toThrow('more than a window');
  channel.receiveEof();
  expect(() => channel.receive(Buffer.from('x'))).toThrow('after its end');
});

test('pumps a duplex to its end and leaves its other direction open', async () => {
  const port = makePort();
  const channel = make(port);
  const stream = new PassThrough();
  stream.end('whole');
  expect(await channel.pump(stream, 'stdout')).toBe(true);
  const broken = new PassThrough();
  broken.write('half');
  const done = channel.pump(broken, 'stdout');
  await settle();
  broken.destroy();
  expect(await done).toBe(false);
  expect(port.sent.map(({ bytes }) => bytes)).toEqual(['whole', 'half']);
});
