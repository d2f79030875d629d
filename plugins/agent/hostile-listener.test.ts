// Listeners against a hostile guest: a scripted one announces connections that it must not, and too many.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { afterEach, describe, expect, it } from 'vitest';
import type { GuestListener, GuestPeer } from '../../core/plugin-api.ts';
import { openDial } from './dial-stream.ts';
import { openListener } from './listen-stream.ts';
import { failureOf, idle, run, until } from './test-agent.ts';
import { closeGuests, info, openGuest } from './test-guest.ts';
import type { Guest } from './test-guest.ts';
import { encodeFrame, encodeTlv, FrameParser, frameType, headerBytes, tag, u16, u32, windowBytes } from './wire.ts';
import type { Frame, TlvEntry } from './wire.ts';

afterEach(closeGuests);

const first = 0x8000_0000;
interface Listening { readonly guest: Guest; readonly listener: GuestListener; readonly taken: { readonly stream: Duplex; readonly from: GuestPeer }[] }

/** A listener that the guest has opened as stream `id`. */
async function addListener(guest: Guest, id: number): Promise<Listening> {
  const taken: Listening['taken'] = [];
  const opening = openListener(guest.session, { host: 'localhost', port: 0 }, { subject: 'devbox', signal: idle, onConnection: (stream, from) => { taken.push({ stream, from }); } });
  guest.pipe.write(encodeFrame(frameType.opened, id, u32(4000 + id)));
  return { guest, listener: await opening, taken };
}

async function openListening(): Promise<Listening> {
  return addListener(await openGuest({ protocol: 2 }), 1);
}

function accepted(id: number, listener = 1, more: readonly TlvEntry[] = []): Buffer {
  return encodeFrame(frameType.accepted, listener, encodeTlv([[tag.stream, u32(id)], ...more])!);
}

/** Frames the host sent since its hello. */
function framesOf(guest: Guest): Frame[] {
  const frames: Frame[] = [];
  new FrameParser().push(guest.received().subarray(32), (frame) => frames.push(frame) > 0);
  return frames;
}
const closesOf = (guest: Guest): number[] => framesOf(guest).filter((frame) => frame.type === frameType.close).map((frame) => frame.stream);

async function faultOf({ guest, listener }: Listening, bytes: Buffer): Promise<void> {
  guest.pipe.write(bytes);
  await listener.closed;
  await guest.answer(2);
  guest.pipe.write(info({ protocol: 2 }));
  await until(() => guest.infos.length === 2, 'the second introduction');
  expect(guest.losses.map((loss) => loss.closed)).toEqual([false]);
}

describe('a connection that the guest announces', () => {
  const faults: [string, () => Buffer][] = [
    ['for a listener that is not', () => accepted(first, 2)],
    ['for a listener without a number', () => accepted(first, 0)],
    ['with a number of the host', () => accepted(5)],
    ['with the number of the listener', () => accepted(1)],
    ['with number 0', () => accepted(0)],
    ['with the last number that is the host\'s', () => accepted(first - 1)],
    ['with a number that lives', () => Buffer.concat([accepted(first), accepted(first)])],
    ['without a number', () => encodeFrame(frameType.accepted, 1, Buffer.alloc(0))],
    ['with half a number', () => encodeFrame(frameType.accepted, 1, encodeTlv([[tag.stream, u16(7)]])!)],
    ['with a cut payload', () => encodeFrame(frameType.accepted, 1, Buffer.from([35, 0, 4, 0, 1]))],
    ['from what is no address', () => accepted(first, 1, [[tag.host, 'a\u001B[31m'], [tag.port, u16(1)]])],
    ['from an address without a port', () => accepted(first, 1, [[tag.host, '127.0.0.1']])],
    ['and that sends more than its window', () => Buffer.concat([accepted(first), ...Array.from({ length: windowBytes / 32_768 + 1 }, () => encodeFrame(frameType.data, first, Buffer.alloc(32_768)))])],
  ];
  it.each(faults)('%s ends the session', async (_name, bytes) => {
    await faultOf(await openListening(), bytes());
  });

  it('is not believed of a listener that is not open yet', async () => {
    const guest = await openGuest({ protocol: 2 });
    const opening = failureOf(openListener(guest.session, { host: 'localhost', port: 0 }, { subject: 'devbox', signal: idle, onConnection: () => { throw new Error('nobody should come'); } }));
    guest.pipe.write(accepted(first));
    expect(await opening).toMatchObject({ code: 'operation_failed', message: 'lost contact with guest agent of devbox' });
  });

  it('is not believed of a command or connection', async () => {
    const guest = await openGuest({ protocol: 2 });
    const [command, connection] = [run(guest.session, ['true']), openDial(guest.session, { host: '127.0.0.1', port: 1 }, { subject: 'devbox', signal: idle })];
    guest.pipe.write(Buffer.concat([accepted(first, 1), accepted(first + 1, 2), encodeFrame(frameType.opened, 1, u32(7)), encodeFrame(frameType.opened, 2, u32(0))]));
    await command;
    (await connection).destroy();
    // Their streams do not know such a frame, and nothing lives under the numbers it gave.
    guest.pipe.write(encodeFrame(frameType.data, first, randomBytes(10)));
    expect(guest.losses).toEqual([]);
    expect(framesOf(guest).some((frame) => frame.stream >= first)).toBe(false);
  });

  it('may bear a number again that has ended', async () => {
    const { guest, taken } = await openListening();
    for (let round = 0; round < 3; round += 1) {
      guest.pipe.write(Buffer.concat([accepted(first), encodeFrame(frameType.data, first, Buffer.from(`round ${round}`)), encodeFrame(frameType.eof, first, Buffer.alloc(0)), encodeFrame(frameType.close, first, u32(0))]));
    }
    await until(() => taken.length === 3, 'three connections');
    const texts = await Promise.all(taken.map(async ({ stream }) => Buffer.concat(await stream.toArray() as Buffer[]).toString()));
    expect(texts).toEqual(['round 0', 'round 1', 'round 2']);
    expect(taken[0]?.from).toEqual({ host: '', port: 0 });
    // What is written to one that has ended reaches no later one.
    taken[0]?.stream.end('late');
    expect(framesOf(guest).filter((frame) => frame.type === frameType.data)).toEqual([]);
  });
});

describe('a flood', () => {
  it('of connections on one listener gets 128, and CLOSE for the others', async () => {
    const { guest, taken } = await openListening();
    guest.pipe.write(Buffer.concat(Array.from({ length: 1000 }, (_, i) => accepted(first + i))));
    await until(() => closesOf(guest).length === 872, 'the others to be closed');
    expect(taken).toHaveLength(128);
    expect(closesOf(guest).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 872 }, (_, i) => first + 128 + i));
    expect(guest.losses).toEqual([]);
  });

  it('of connections that end at once gets no more while nobody has let go of them', async () => {
    const { guest, taken } = await openListening();
    guest.pipe.write(Buffer.concat(Array.from({ length: 1000 }, (_, i) => Buffer.concat([accepted(first + i), encodeFrame(frameType.close, first + i, u32(0))]))));
    await until(() => closesOf(guest).length === 872, 'the others to be closed');
    expect(taken).toHaveLength(128);
    await Promise.all(taken.map(({ stream }) => once(stream.destroy(), 'close')));
    guest.pipe.write(accepted(first));
    await until(() => taken.length === 129, 'another');
  });

  it('over several listeners gets 224', async () => {
    const one = await openListening();
    const others = await Promise.all([2, 3].map((id) => addListener(one.guest, id)));
    const all = [one, ...others];
    one.guest.pipe.write(Buffer.concat(Array.from({ length: 300 }, (_, i) => accepted(first + i, 1 + i % 3))));
    await until(() => closesOf(one.guest).length === 76, 'the others to be closed');
    expect(all.reduce((sum, { taken }) => sum + taken.length, 0)).toBe(224);
    one.guest.pipe.destroy();
    await Promise.all(all.map(({ listener }) => listener.closed));
    expect(all.flatMap(({ taken }) => taken).every(({ stream }) => stream.destroyed)).toBe(true);
  });
});

describe('closing', () => {
  it('turns away what comes before the guest has answered, and ends the session for what comes after', async () => {
    const listening = await openListening();
    const { guest, listener, taken } = listening;
    listener.close();
    await listener.closed;
    guest.pipe.write(accepted(first));
    await until(() => closesOf(guest).length === 2, 'the connection to be closed');
    expect(closesOf(guest)).toEqual([1, first]);
    expect(taken).toEqual([]);
    guest.pipe.write(encodeFrame(frameType.close, 1, u32(0)));
    await faultOf(listening, accepted(first + 1));
  });

  it('by the guest settles the listener', async () => {
    const { guest, listener } = await openListening();
    guest.pipe.write(encodeFrame(frameType.close, 1, u32(5)));
    await listener.closed;
    listener.close();
    expect(closesOf(guest)).toEqual([]);
  });

  it('survives a taker that throws', async () => {
    const guest = await openGuest({ protocol: 2 });
    const opening = openListener(guest.session, { path: '/run/a.sock' }, { subject: 'devbox', signal: idle, onConnection: () => { throw new Error('no use for it'); } });
    guest.pipe.write(encodeFrame(frameType.opened, 1, u32(0)));
    await opening;
    guest.pipe.write(accepted(first));
    await until(() => closesOf(guest).length === 1, 'the connection to be closed');
    expect(guest.losses).toEqual([]);
  });
});

describe('an agent of protocol 1', () => {
  it('is asked for nothing that it does not know', async () => {
    const guest = await openGuest({ protocol: 1 });
    const before = guest.received().length;
    const opening = { subject: 'devbox', signal: idle };
    const tries = [
      run(guest.session, [], { line: 'true' }), run(guest.session, ['true'], { login: true }), run(guest.session, ['sftp'], { builtin: true }),
      openDial(guest.session, { host: 'example.org', port: 80 }, opening), openDial(guest.session, { path: '/run/a.sock' }, opening),
      openListener(guest.session, { host: 'localhost', port: 0 }, { ...opening, onConnection: () => undefined }),
    ];
    for (const refused of await Promise.all(tries.map(failureOf))) {
      expect(refused).toMatchObject({ code: 'unsupported', message: expect.stringContaining('the guest agent of devbox is too old to') as string, hint: 'banger vm restart devbox' });
    }
    expect(guest.received()).toHaveLength(before);
    // What it knows is asked as before.
    void failureOf(openDial(guest.session, { host: 'LOCALHOST', port: 80 }, opening));
    void failureOf(run(guest.session, [], { login: true }));
    await until(() => guest.received().length > before + 2 * headerBytes, 'the requests');
  });
});
