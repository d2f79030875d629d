// The direct way: both ends of it, and the host's alone on a socket (this process plays QEMU).
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../../test/support/wait.ts';
import { caught, collect, Ends, hello, helloBytes, limits } from './testing-direct.ts';
import { end, file, header, isRoot, makeTree, manifest, programs, run, temporary, type Programs } from './testing.ts';

const { dir, room, dispose } = temporary('direct');
let copy: Programs;
let ends: Ends;
beforeAll(async () => {
  copy = await programs(dir);
  ends = new Ends(copy.asan, dir);
}, 300_000);
afterEach(() => ends.clear());
afterAll(dispose);

/** Sizes around everything that is done differently, and holes. */
function makeBig(at: string): void {
  mkdirSync(at);
  for (const size of [262_144, 524_287, 524_288, 524_289, 1_048_576, 1_048_577, 4_194_304 + 511, 9_000_001]) writeFileSync(join(at, `f${size}`), randomBytes(size));
  for (let i = 0; i < 40; i++) writeFileSync(join(at, `s${i}`), randomBytes(i * 333));
  writeFileSync(join(at, 'holes'), '');
  truncateSync(join(at, 'holes'), 6_000_001);
  const fd = openSync(join(at, 'holes'), 'r+');
  writeSync(fd, randomBytes(1_500_000), 0, undefined, 2_000_000);
  closeSync(fd);
}

describe('both ends', () => {
  const trees: Readonly<Record<string, (at: string) => void>> = { 'a tree of everything': (at) => makeTree(at, { seed: 71, asRoot: isRoot }), 'big files': makeBig };
  for (const [what, make] of Object.entries(trees)) {
    it(`bring ${what} into the guest`, async () => {
      const here = room();
      make(join(here, 'from'));
      const both = await ends.joined(['send', join(here, 'from')], ['receive', '--owners', '--devices', join(here, 'to')], 'guest');
      await both.host.said(/^sent$/m);
      expect([await both.guest.over(), both.guest.err]).toEqual([0, '']);
      // It holds the socket until it is told that the guest's end is over.
      expect(both.host.running).toBe(true);
      both.host.child.stdin!.end();
      expect([await both.host.over(), both.host.err]).toEqual([0, '']);
      expect(both.host.progress).toMatch(/^\d+ \d+ .*\nsent\n$/m);
      expect(manifest(join(here, 'to'))).toEqual(manifest(join(here, 'from')));
    });

    it(`bring ${what} out of the guest`, async () => {
      const here = room();
      make(join(here, 'from'));
      const both = await ends.joined(['send', join(here, 'from')], ['receive', '--owners', '--devices', join(here, 'to')], 'host');
      expect([await both.host.over(), both.host.err]).toEqual([0, '']);
      expect([await both.guest.over(), both.guest.err]).toEqual([0, '']);
      expect(manifest(join(here, 'to'))).toEqual(manifest(join(here, 'from')));
    });
  }

  it('says when all of it is there, so that the guest need not wait for the host to leave', async () => {
    const here = room();
    const { end: receiver, socket } = await ends.greeted(['receive', join(here, 'dest')]);
    const got = collect(socket);
    socket.write(Buffer.concat([file('f'), end]));
    expect([await receiver.over(), receiver.err]).toEqual([0, '']);
    await waitFor('the end of the socket', () => got.over);
    expect(got.bytes).toEqual(Buffer.concat([helloBytes, Buffer.alloc(1)]));
  });

  it('end the stream with its end mark', async () => {
    const here = room();
    writeFileSync(join(here, 'one'), 'text');
    const { end: sender, socket } = await ends.greeted(['send', join(here, 'one')]);
    const got = collect(socket);
    await sender.said(/^sent$/m);
    sender.child.stdin!.end();
    expect(await sender.over()).toBe(0);
    await waitFor('the end', () => got.over);
    expect((got.bytes.length - 16) % 10_240).not.toBe(0);
    expect(got.bytes.subarray(0, 16)).toEqual(helloBytes);
    expect(got.bytes.subarray(-1024)).toEqual(end);
    expect(await run(copy.asan, ['receive', join(here, 'again')], { input: got.bytes.subarray(16) })).toMatchObject({ code: 0 });
    expect(readFileSync(join(here, 'again'), 'utf8')).toBe('text');
  });
});

describe('the hello', () => {
  const stream = Buffer.concat([file('f'), end]);
  // Its own begin many times, and split at every place that matters.
  const before: Readonly<Record<string, readonly Buffer[]>> = {
    'after nothing': [helloBytes],
    'in two halves': [helloBytes.subarray(0, 7), helloBytes.subarray(7)],
    'after what looks like it': [Buffer.concat(Array.from({ length: 500 }, (_, i) => helloBytes.subarray(0, i % 16))), helloBytes],
    'after megabytes': [randomBytes(7_000_000), helloBytes.subarray(0, 15), helloBytes.subarray(15)],
  };
  for (const [how, parts] of Object.entries(before)) {
    it(`is found ${how}`, async () => {
      const here = room();
      const { path, client } = await ends.chardev();
      const receiver = ends.host(path, ['receive', join(here, 'dest')]);
      const socket = await client;
      for (const part of parts) await new Promise((resolve) => socket.write(part, resolve));
      socket.write(stream);
      expect([await receiver.over(), receiver.err, readFileSync(join(here, 'dest'), 'utf8')]).toEqual([0, '', 'text']);
    });
  }

  it('may not be missing', async () => {
    const here = room();
    writeFileSync(join(here, 'one'), 'text');
    for (const [args, stays] of [[['receive', join(here, 'dest')], ': nothing was put in place'], [['send', join(here, 'one')], '']] as const) {
      const { path, client } = await ends.chardev();
      const running = ends.host(path, args);
      const socket = await client;
      const got = collect(socket);
      socket.resume();
      socket.write(Buffer.alloc(9 << 20, helloBytes.subarray(0, 15)));
      expect([await running.over(), running.err]).toEqual([3, `copy: the guest does not answer as expected${stays}\n`]);
      // Whoever is there, it is told nothing else.
      await waitFor('the end', () => got.over);
      expect(got.bytes).toEqual(helloBytes);
    }
  });

  it('is waited for only so long as somebody is there', async () => {
    const here = room();
    writeFileSync(join(here, 'one'), 'text');
    for (const leave of ['socket', 'control']) {
      for (const [args, err] of [[['receive', join(here, 'dest')], 'the stream ended early: nothing was put in place'], [['send', join(here, 'one')], 'the other end is gone']] as const) {
        const { path, client } = await ends.chardev();
        const running = ends.host(path, args);
        const socket = await client;
        if (leave === 'socket') socket.end(helloBytes.subarray(0, 9));
        else running.child.stdin!.end();
        expect([await running.over(), running.err]).toEqual([3, `copy: ${err}\n`]);
      }
    }
  });
});

describe('a guest that stalls', () => {
  const soon = ['--stall', '300', '--floor', '1000000000'];
  it('is given up before it says hello', async () => {
    const here = room();
    writeFileSync(join(here, 'one'), 'text');
    for (const [args, stays] of [[['receive', join(here, 'dest')], ': nothing was put in place'], [['send', join(here, 'one')], '']] as const) {
      const { path } = await ends.chardev();
      const running = ends.host(path, args, soon);
      expect([await running.over(), running.err]).toEqual([4, `copy: the other end stalled${stays}\n`]);
      expect(running.progress).toBe('stalled 0\n');
    }
  });

  it('is given up in the middle, and nothing is left', async () => {
    const here = room();
    const { end: receiver, socket } = await ends.greeted(['receive', join(here, 'dest')], soon);
    socket.write(Buffer.concat([header({ name: 'f', size: 3_000_000 }), randomBytes(2_000_000)]));
    expect([await receiver.over(), receiver.err, readdirSync(here)]).toEqual([4, 'copy: the other end stalled: nothing was put in place\n', []]);
    expect(receiver.progress).toMatch(new RegExp(`^stalled ${16 + 512 + 2_000_000}$`, 'm'));
  });

  it('is given up when it takes nothing', async () => {
    const here = room();
    writeFileSync(join(here, 'big'), randomBytes(20_000_000));
    const { path, client } = await ends.chardev();
    const sender = ends.host(path, ['send', join(here, 'big')], soon);
    (await client).write(helloBytes);
    expect([await sender.over(), sender.err]).toEqual([4, 'copy: the other end stalled\n']);
    const bytes = Number(/^stalled (\d+)$/m.exec(sender.progress)?.[1]);
    expect(bytes).toBeGreaterThan(16);
    expect(bytes).toBeLessThan(20_000_000);
  });

  /** A byte now and then, until nobody listens. */
  async function dribble(socket: Socket, bytes: Buffer): Promise<void> {
    for (const byte of bytes) {
      if (socket.destroyed) return;
      socket.write(Buffer.of(byte));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  it('is given up when it says a byte now and then', async () => {
    const here = room();
    const { end: receiver, socket } = await ends.greeted(['receive', join(here, 'dest')], soon);
    const [code] = await Promise.all([receiver.over(), dribble(socket, Buffer.concat([header({ name: 'f', size: 100 })]))]);
    expect([code, receiver.err]).toEqual([4, 'copy: the other end stalled: nothing was put in place\n']);
    expect(Number(/^stalled (\d+)$/m.exec(receiver.progress)?.[1])).toBeGreaterThan(16);
  });

  it('lives for ever when that is enough', async () => {
    const here = room();
    const { end: receiver, socket } = await ends.greeted(['receive', join(here, 'dest')], ['--stall', '3000', '--floor', '1']);
    const stream = Buffer.concat([file('f'), end]);
    // In sum it waits for longer than the limit.
    const begin = performance.now();
    let at = 0;
    while (performance.now() - begin < 3500) {
      await dribble(socket, stream.subarray(at, at + 1));
      at = Math.min(at + 1, 1000);
    }
    socket.write(stream.subarray(at));
    expect([await receiver.over(), receiver.err]).toEqual([0, '']);
  });
});

describe('the control pipe', () => {
  const half = Buffer.concat([header({ name: 'f', size: 3_000_000 }), randomBytes(2_000_000)]);
  it('ends a receiver that nothing comes to any more', async () => {
    const here = room();
    const { end: receiver, socket } = await ends.greeted(['receive', join(here, 'dest')]);
    socket.write(half);
    await waitFor('the temporary file', () => readdirSync(here).length > 0);
    receiver.child.stdin!.end();
    expect([await receiver.over(), receiver.err, readdirSync(here)]).toEqual([3, 'copy: the stream ended early: nothing was put in place\n', []]);
  });

  it('does not end one that still gets something', async () => {
    const here = room();
    const { end: receiver, socket } = await ends.greeted(['receive', join(here, 'dest')]);
    receiver.child.stdin!.write(randomBytes(100_000));
    receiver.child.stdin!.end();
    socket.write(Buffer.concat([half, randomBytes(1_000_000), Buffer.alloc(512 - (3_000_000 % 512)), end]));
    expect([await receiver.over(), receiver.err, readdirSync(here)]).toEqual([0, '', ['dest']]);
  });

  it('ends a sender that is in the middle', async () => {
    const here = room();
    writeFileSync(join(here, 'big'), randomBytes(20_000_000));
    const { path, client } = await ends.chardev();
    const sender = ends.host(path, ['send', join(here, 'big')]);
    (await client).write(helloBytes);
    sender.child.stdin!.write('nobody reads this');
    await sender.said(/^\d+ 1 big$/m);
    expect(sender.running).toBe(true);
    sender.child.stdin!.end();
    expect([await sender.over(), sender.err]).toEqual([3, 'copy: the other end is gone\n']);
    expect(sender.progress).not.toMatch(/^sent$/m);
  });

  it('ends one that has sent everything with its own code', async () => {
    const here = room();
    mkdirSync(join(here, 'from'));
    // What the kernel says of that file's size is more than there is to read.
    for (const [what, code] of [[join(here, 'from'), 0], ['/sys/kernel/uevent_seqnum', 1]] as const) {
      const { end: sender } = await ends.greeted(['send', what]);
      await sender.said(/^sent$/m);
      expect(sender.running).toBe(true);
      sender.child.stdin!.end();
      expect(await sender.over()).toBe(code);
    }
  });
});

describe("the guest's leaving", () => {
  it('is told', async () => {
    const here = room();
    writeFileSync(join(here, 'big'), randomBytes(20_000_000));
    const { end: receiver, socket } = await ends.greeted(['receive', join(here, 'dest')]);
    socket.end(Buffer.concat([header({ name: 'f', size: 3_000_000 }), randomBytes(2_000_000)]));
    expect([await receiver.over(), receiver.err, readdirSync(here)]).toEqual([3, 'copy: the stream ended early: nothing was put in place\n', ['big']]);
    const { end: sender, socket: other } = await ends.greeted(['send', join(here, 'big')]);
    await once(other, 'data');
    other.destroy();
    expect([await sender.over(), sender.err]).toEqual([3, 'copy: the other end is gone\n']);
  });

  it('is the end of a sender that has sent everything', async () => {
    const here = room();
    writeFileSync(join(here, 'one'), 'text');
    const { end: sender, socket } = await ends.greeted(['send', join(here, 'one')]);
    await sender.said(/^sent$/m);
    socket.destroy();
    expect([await sender.over(), sender.err]).toEqual([0, '']);
  });
});

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  it(`puts things back on the host by ${signal}`, async () => {
    const here = room();
    for (const sent of [helloBytes.subarray(0, 3), Buffer.concat([helloBytes, header({ name: 'f', size: 3_000_000 }), randomBytes(2_000_000)])]) {
      const { path, client } = await ends.chardev();
      const receiver = ends.host(path, ['receive', join(here, 'dest')]);
      (await client).write(sent);
      await waitFor('it to be there', () => (sent.length > 16 ? readdirSync(here).length > 0 : caught(receiver)));
      receiver.child.kill(signal);
      expect([await receiver.over(), receiver.err, readdirSync(here)]).toEqual([3, 'copy: stopped by a signal: nothing was put in place\n', []]);
    }
  });
}

it('says when there is nothing to connect to', async () => {
  const here = room();
  for (const path of [join(here, 'nothing'), 'x'.repeat(200)]) {
    const running = ends.host(path, ['receive', join(here, 'dest')]);
    expect(await running.over()).toBe(3);
    expect(running.err).toMatch(new RegExp(`^copy: cannot connect to ${path}: .*: nothing was put in place\n$`));
  }
});

it('refuses options that do not belong together', async () => {
  const whole = ['--socket', 'a', '--hello', hello, ...limits];
  const wrong = [
    ['--port', 'ff'], ['--port', `${hello}0`], ['--port', hello.replace('f', 'g')], ['--port', hello, '--port', hello], ['--port', hello, ...whole],
    ['--socket', 'a'], ['--hello', hello], ['--socket', '', ...whole.slice(2)], whole.slice(0, -2), [...whole.slice(0, -1), '0'], [...whole.slice(0, -1), '1x'],
    ['--socket', 'a', '--hello', hello, '--stall', '4294967296', '--floor', '1'],
  ];
  for (const options of wrong) for (const verb of ['send', 'receive']) expect({ options, ...await run(copy.asan, [verb, ...options, '.']) }).toMatchObject({ options, code: 2 });
});
