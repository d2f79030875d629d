// The session against a hostile or confused other end: a scripted socket in place of the agent.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { GuestProcess } from '../../core/plugin-api.ts';
import { collect, failureOf, run, testToken, until } from './test-agent.ts';
import { closeGuests, createGuest, info, openGuest, zeros } from './test-guest.ts';
import { encodeFrame, FrameParser, frameType, maxPayload, TokenScanner, u32, windowBytes } from './wire.ts';
import type { Frame } from './wire.ts';

afterEach(closeGuests);

describe('hello', () => {
  it('discards everything before the answer with its own nonce, in any pieces', async () => {
    const guest = createGuest();
    await until(() => guest.hellos().length === 1, 'the hello');
    const before = Buffer.concat([randomBytes(5000), testToken, randomBytes(16), encodeFrame(frameType.data, 1, randomBytes(100)), testToken.subarray(0, 9)]);
    const stream = Buffer.concat([before, testToken, guest.hellos()[0] ?? zeros, info({ problems: ['bad\u001B[31m disk'] })]);
    for (let at = 0; at < stream.length; at += 7) guest.pipe.write(stream.subarray(at, at + 7));
    await until(() => guest.infos.length === 1, 'the introduction');
    expect(guest.infos[0]).toEqual({ version: '0.1.0', protocol: 1, bootId: 'aaaa-bbbb', init: 'agent', problems: ['bad [31m disk'] });
    expect(guest.losses).toEqual([]);
  });

  it('is repeated while nobody answers, each time with a fresh nonce', async () => {
    const guest = createGuest(5);
    await until(() => guest.hellos().length >= 3, 'three hellos');
    expect(new Set(guest.hellos().map((nonce) => nonce.toString('hex'))).size).toBe(guest.hellos().length);
  });

  it('waits once in a guest that stands still, and is repeated when that goes on', async () => {
    let isPaused = true;
    let asked = 0;
    const guest = createGuest(5, () => {
      asked += 1;
      return isPaused;
    });
    await until(() => asked > 3, 'the time of some repetitions');
    expect(guest.hellos()).toHaveLength(1);
    isPaused = false;
    await until(() => guest.hellos().length > 1, 'the next hello');
  });

  it('begins anew when an agent says that it starts, and streams are lost', async () => {
    const guest = await openGuest();
    const opening = run(guest.session, ['true']);
    const refused = failureOf(opening);
    // In the middle of a frame.
    guest.pipe.write(encodeFrame(frameType.data, 1, randomBytes(100)).subarray(0, 40));
    guest.pipe.write(testToken.subarray(0, 3));
    guest.pipe.write(Buffer.concat([testToken.subarray(3), zeros]));
    expect(await refused).toMatchObject({ message: 'lost contact with guest agent of devbox' });
    expect(guest.losses.map((loss) => loss.closed)).toEqual([false]);
    await guest.answer(2);
    guest.pipe.write(info({ bootId: 'cccc' }));
    await until(() => guest.infos.length === 2, 'the second introduction');
    expect(guest.session.info?.bootId).toBe('cccc');
  });

  it('refuses an agent of a newer protocol', async () => {
    const guest = createGuest();
    await guest.answer();
    guest.pipe.write(info({ protocol: 3 }));
    await until(() => guest.losses.length === 1, 'the end');
    expect(guest.losses[0]).toMatchObject({ closed: true, error: { cause: { code: 'incompatible' } } });
  });

  it('loses its streams when the way is gone', async () => {
    const guest = await openGuest();
    const opening = run(guest.session, ['true']);
    guest.pipe.write(encodeFrame(frameType.opened, 1, u32(7)));
    const child = await opening;
    const lost = failureOf(child.exit);
    guest.pipe.destroy();
    expect(await lost).toMatchObject({ code: 'operation_failed', message: 'lost contact with guest agent of devbox' });
    expect(child.stdout.destroyed).toBe(true);
    expect(guest.losses.at(-1)?.closed).toBe(true);
  });
});

describe('a hostile guest', () => {
  const header = (length: number): Buffer => Buffer.concat([u32(length), Buffer.from([frameType.data, 0, 0, 0]), u32(1)]);
  const faults: [string, () => Buffer][] = [
    ['a frame over the limit', () => header(maxPayload + 1)],
    ['a frame of 4 GiB', () => header(0xffff_ffff)],
    ['a second introduction', () => info()],
    ['a cut entry in an introduction', () => encodeFrame(frameType.info, 0, Buffer.from([1, 0, 255, 0, 1]))],
    ['data for a channel that is not', () => encodeFrame(frameType.data, 1, Buffer.from('x'), 2)],
    ['more data than the window', () => Buffer.concat(Array.from({ length: windowBytes / maxPayload + 1 }, () => encodeFrame(frameType.data, 1, Buffer.alloc(maxPayload))))],
    ['data after the end', () => Buffer.concat([encodeFrame(frameType.eof, 1, Buffer.alloc(0)), encodeFrame(frameType.data, 1, Buffer.from('x'))])],
    ['a grant beyond the window', () => encodeFrame(frameType.window, 1, u32(0xffff_ffff))],
    ['an exit of the wrong size', () => encodeFrame(frameType.exit, 1, Buffer.alloc(7))],
  ];
  it.each(faults)('%s ends the session, and a new hello follows', async (_name, bytes) => {
    const guest = await openGuest();
    const opening = run(guest.session, ['true']);
    guest.pipe.write(encodeFrame(frameType.opened, 1, u32(7)));
    const child = await opening;
    const lost = failureOf(child.exit);
    guest.pipe.write(bytes());
    expect(await lost).toMatchObject({ code: 'operation_failed' });
    await guest.answer(2);
    guest.pipe.write(info());
    await until(() => guest.infos.length === 2, 'the second introduction');
    expect(guest.losses.map((loss) => loss.closed)).toEqual([false]);
  });

  const startsAnew = Buffer.concat([testToken, zeros]);
  const storms: [string, (hello: Buffer, n: number) => Buffer][] = [
    ['boots without end', (hello, n) => Buffer.concat([testToken, hello, info({ bootId: n.toString(16) }), startsAnew])],
    ['faults and starts anew without end', (hello) => Buffer.concat([testToken, hello, header(0xffff_ffff), startsAnew])],
  ];
  it.each(storms)('that %s is answered ever more slowly', async (_name, reply) => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
    try {
      const guest = createGuest();
      let answered = 0;
      // The bound keeps a session that answers at once from holding this test for ever.
      for (let idle = 0; idle < 300 && answered < 500;) {
        const hello = guest.hellos()[answered];
        if (hello === undefined) {
          idle += 1;
          vi.advanceTimersByTime(100);
        } else {
          answered += 1;
          guest.pipe.write(reply(hello, answered));
        }
        await new Promise((resolve) => setImmediate(resolve));
      }
      // 30 s of the guest's time.
      expect(answered).toBeGreaterThan(3);
      expect(answered).toBeLessThan(20);
    } finally {
      vi.useRealTimers();
    }
  });

  it('is not believed before it introduced itself', async () => {
    const guest = createGuest();
    await guest.answer();
    guest.pipe.write(encodeFrame(frameType.pong, 0, Buffer.alloc(0)));
    await guest.answer(2);
    guest.pipe.write(info());
    await until(() => guest.infos.length === 1, 'the introduction');
  });

  it('may speak of streams and types nobody knows', async () => {
    const guest = await openGuest();
    guest.pipe.write(encodeFrame(frameType.data, 4711, randomBytes(1000)));
    guest.pipe.write(encodeFrame(200, 1, randomBytes(1000)));
    const opening = run(guest.session, ['true']);
    guest.pipe.write(Buffer.concat([encodeFrame(frameType.opened, 1, u32(7)), encodeFrame(222, 1, zeros), encodeFrame(frameType.exit, 1, Buffer.concat([u32(0), u32(3)]))]));
    expect((await collect(await opening)).exit).toEqual({ code: 3 });
    expect(guest.losses).toEqual([]);
  });

  it('gets no memory for random bytes', async () => {
    const guest = createGuest(5);
    const collectGarbage = garbageCollector();
    collectGarbage();
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 1024; i += 1) {
      if (!guest.pipe.write(randomBytes(256 * 1024))) await new Promise((resolve) => guest.pipe.once('drain', resolve));
    }
    await new Promise((resolve) => setImmediate(resolve)); // what is under way through the pipe arrives
    collectGarbage();
    expect(guest.infos).toEqual([]);
    // 256 MiB were said; some may still be held by the last turns of the event loop.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024 * 1024);
  });
});

/** What is kept is told from what nobody has collected yet only by collecting. */
function garbageCollector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}

it('lets a background question wait while the guest ends none of many commands that were hung up', async () => {
  const guest = await openGuest();
  const begin = async (id: number): Promise<GuestProcess> => {
    const opening = run(guest.session, ['true']);
    guest.pipe.write(encodeFrame(frameType.opened, id, u32(7)));
    return opening;
  };
  for (let id = 1; id <= 17; id += 1) {
    const { hangup } = await begin(id);
    hangup();
    hangup();
  }
  let hasWaited = false;
  const waiting = guest.session.caughtUp(new AbortController().signal).then(() => { hasWaited = true; });
  await begin(18);
  expect(hasWaited).toBe(false);
  guest.pipe.write(encodeFrame(frameType.exit, 3, Buffer.alloc(8)));
  await waiting;
  await guest.session.caughtUp(new AbortController().signal);
});

describe('parts', () => {
  it('finds a token over any border', () => {
    const text = Buffer.concat([randomBytes(40), testToken, testToken, randomBytes(3), testToken]);
    for (let size = 1; size < text.length; size += 1) {
      const scanner = new TokenScanner(testToken);
      const found: number[] = [];
      for (let at = 0; at < text.length; at += size) found.push(...scanner.push(text.subarray(at, at + size)).map((end) => end + at));
      expect(found).toEqual([56, 72, 91]);
    }
  });

  it('cuts frames the same in any pieces', () => {
    const frames = [0, 1, 500, maxPayload].map((size, i) => ({ type: i + 1, flags: i, stream: i * 7, payload: randomBytes(size) }));
    const bytes = Buffer.concat(frames.map((frame) => encodeFrame(frame.type, frame.stream, frame.payload, frame.flags)));
    for (const size of [1, 11, 12, 13, 4096, bytes.length]) {
      const parser = new FrameParser();
      const seen: Frame[] = [];
      for (let at = 0; at < bytes.length; at += size) parser.push(bytes.subarray(at, at + size), (frame) => seen.push({ ...frame, payload: Buffer.from(frame.payload) }) > 0);
      expect(seen).toEqual(frames);
    }
  });
});
