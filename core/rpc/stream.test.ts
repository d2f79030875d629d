// Byte streams: tickets, frames over a real socket, back-pressure both ways.
import { createHash, randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectSocket } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { method, startRpc } from '../../test/support/rpc-fixture.ts';
import type { Fixture } from '../../test/support/rpc-fixture.ts';
import { waitFor } from '../../test/support/wait.ts';
import { frameKind } from '../api.ts';
import type { CallContext, FrameStream } from '../plugin-api.ts';
import { attach } from './client.ts';
import { encodeFrame, maxFramePayload } from './frames.ts';
import type { RpcServerOptions } from './server.ts';

const mebibyte = 1024 * 1024;
const total = 64 * mebibyte;

interface StreamFixture extends Fixture {
  /** The daemon's end and the ticket for the client's. */
  readonly offer: () => Promise<{ readonly ticket: string; readonly opened: Promise<FrameStream> }>;
  /** Both ends, attached. */
  readonly pair: () => Promise<{ readonly daemon: FrameStream; readonly client: FrameStream }>;
  readonly expired: string[];
}

async function startStreams(options: Partial<RpcServerOptions> = {}): Promise<StreamFixture> {
  const expired: string[] = [];
  let next = Promise.withResolvers<FrameStream>();
  const fixture = await startRpc({
    'test.stream': method((_params, call: CallContext) => {
      const mine = next;
      const ticket: string = call.peer.offerStream((stream) => mine.resolve(stream), () => expired.push(ticket));
      return { ticket };
    }),
    'test.broken': method((_params, call: CallContext) => ({ ticket: call.peer.offerStream(() => { throw new Error('secret'); }, () => {}) })),
  }, options);
  const offer: StreamFixture['offer'] = async () => {
    next = Promise.withResolvers<FrameStream>();
    const opened = next.promise;
    const { ticket } = await (await fixture.connect()).callAny('test.stream', {}) as { ticket: string };
    return { ticket, opened };
  };
  return {
    ...fixture, expired, offer,
    pair: async () => {
      const { ticket, opened } = await offer();
      const client = await attach(fixture.socketPath, ticket);
      onTestFinished(() => client.destroy());
      return { daemon: await opened, client };
    },
  };
}

/** Sends 64 MiB in pieces of 64 KiB, then an empty frame; gives the digest. */
async function sendAll(stream: FrameStream, kind: number, observe: () => void = () => {}): Promise<string> {
  const hash = createHash('sha256');
  for (let sent = 0; sent < total; sent += 65_536) {
    const piece = randomFillSync(Buffer.alloc(65_536));
    hash.update(piece);
    await stream.send(kind, piece);
    observe();
  }
  await stream.send(kind, Buffer.alloc(0));
  return hash.digest('hex');
}

function receiveAll(stream: FrameStream, handle: () => Promise<void> | void = () => {}): Promise<string> {
  const hash = createHash('sha256');
  return new Promise((resolve, reject) => {
    stream.onClose(() => reject(new Error('closed before the end')));
    stream.onFrame((_kind, payload) => {
      if (payload.length === 0) resolve(hash.digest('hex'));
      hash.update(payload);
      return handle();
    });
  });
}

describe('a stream', () => {
  test('carries 64 MiB from daemon to client whole', async () => {
    const { pair } = await startStreams();
    const { daemon, client } = await pair();
    const [sent, got] = await Promise.all([sendAll(daemon, frameKind.stdout), receiveAll(client)]);
    expect(got).toBe(sent);
  });

  test('carries 64 MiB both ways at once while calls on other connections are answered', async () => {
    const { pair, raw } = await startStreams();
    const { daemon, client } = await pair();
    const other = await raw();
    let done = false;
    const pings = (async () => {
      while (!done) expect(await other.ask('ping')).toMatchObject({ result: { pong: true } });
    })();
    const [up, down, gotUp, gotDown] = await Promise.all([
      sendAll(client, frameKind.stdin), sendAll(daemon, frameKind.stdout), receiveAll(daemon), receiveAll(client)]);
    done = true;
    await pings;
    expect(gotUp).toBe(up);
    expect(gotDown).toBe(down);
  });

  test('whose reader stands still does not grow the daemon, and goes on when it moves', async () => {
    const { pair, server } = await startStreams();
    const { daemon, client } = await pair();
    const gate = Promise.withResolvers<void>();
    let most = 0;
    let sent = 0;
    const sending = sendAll(daemon, frameKind.stdout, () => {
      sent += 65_536;
      most = Math.max(most, server.stats().bufferedOutputBytes);
    });
    const receiving = receiveAll(client, () => gate.promise);
    // The sender is stuck when two looks apart in time show the same number.
    let before = -1;
    await waitFor('the sender to stand still', () => {
      const still = sent > 0 && sent === before;
      before = sent;
      return still;
    });
    expect(sent).toBeLessThan(8 * mebibyte);
    gate.resolve();
    expect(await receiving).toBe(await sending);
    expect(most).toBeLessThan(mebibyte);
  });

  test('whose daemon side stands still does not grow the daemon either', async () => {
    const { pair, server } = await startStreams();
    const { daemon, client } = await pair();
    const gate = Promise.withResolvers<void>();
    const receiving = receiveAll(daemon, () => gate.promise);
    let sent = 0;
    const sending = sendAll(client, frameKind.stdin, () => { sent += 65_536; });
    let before = -1;
    await waitFor('the sender to stand still', () => {
      const still = sent > 0 && sent === before;
      before = sent;
      return still;
    });
    expect(sent).toBeLessThan(8 * mebibyte);
    expect(server.stats().bufferedOutputBytes).toBeLessThan(mebibyte);
    gate.resolve();
    expect(await receiving).toBe(await sending);
  });

  test('keeps the order of kinds and delivers the last frame before the close', async () => {
    const { pair } = await startStreams();
    const { daemon, client } = await pair();
    const got: string[] = [];
    client.onClose(() => got.push('closed'));
    for (let count = 0; count < 200; count += 1) await daemon.send(count % 2 === 0 ? frameKind.stdout : frameKind.stderr, Buffer.from(String(count)));
    await daemon.send(frameKind.exit, Buffer.from('{"code":0}'));
    daemon.end();
    client.onFrame(async (kind, payload) => {
      await new Promise(setImmediate);
      got.push(`${kind} ${payload.toString()}`);
    });
    await waitFor('the close', () => got.at(-1) === 'closed');
    expect(got).toEqual([...Array.from({ length: 200 }, (_, count) => `${count % 2 === 0 ? 16 : 17} ${count}`), '18 {"code":0}', 'closed']);
  });

  test('tells the daemon that the client died, even while its handler holds up reading', async () => {
    const { offer, socketPath } = await startStreams();
    const { ticket, opened } = await offer();
    const socket = connectSocket({ path: socketPath });
    socket.write(`{"attach":"${ticket}"}\n`);
    const daemon = await opened;
    let closed = false;
    let held = 0;
    daemon.onClose(() => { closed = true; });
    daemon.onFrame(() => {
      held += 1;
      return new Promise(() => {});
    });
    socket.write(Buffer.concat([encodeFrame(frameKind.stdin, Buffer.from('never read')), encodeFrame(frameKind.stdin, Buffer.from('nor this'))]));
    await waitFor('the first frame', () => held === 1);
    socket.destroy();
    await waitFor('the news', () => closed);
    expect(held).toBe(1);
    await expect(daemon.send(frameKind.stdout, Buffer.from('x'))).rejects.toMatchObject({ code: 'operation_failed' });
  });

  test('delivers the exit frame to a client whose own frames are stuck, and then both sides are gone', async () => {
    const { pair, server } = await startStreams();
    const { daemon, client } = await pair();
    daemon.onFrame(() => new Promise(() => {}));
    const stuck = (async () => {
      for (;;) await client.send(frameKind.stdin, Buffer.alloc(65_536));
    })();
    const stopped = stuck.catch((error: unknown) => error);
    await waitFor('the daemon to stand still', () => server.stats().bufferedOutputBytes > 0);
    const got = Promise.withResolvers<string>();
    const closed = Promise.withResolvers<void>();
    client.onFrame((kind, payload) => got.resolve(`${kind} ${payload.toString()}`));
    client.onClose(() => closed.resolve());
    await daemon.send(frameKind.exit, Buffer.from('{"code":3}'));
    daemon.end();
    expect(await got.promise).toBe('18 {"code":3}');
    await closed.promise;
    expect(await stopped).toMatchObject({ code: 'operation_failed' });
    await waitFor('the daemon to forget the stream', () => server.clients() === 1);
  });

  test('keeps signs of life to itself', async () => {
    const { pair } = await startStreams();
    const { daemon, client } = await pair();
    const got: number[] = [];
    daemon.onFrame((kind) => void got.push(kind));
    await client.send(frameKind.keepalive, Buffer.alloc(0));
    await client.send(frameKind.stdin, Buffer.from('x'));
    await waitFor('a frame', () => got.length > 0);
    expect(got).toEqual([frameKind.stdin]);
  });

  test('tells the daemon that the client died before anybody handled its frames', async () => {
    const { offer, socketPath } = await startStreams();
    const { ticket, opened } = await offer();
    const socket = connectSocket({ path: socketPath });
    socket.write(Buffer.concat([Buffer.from(`{"attach":"${ticket}"}\n`), encodeFrame(frameKind.stdin, Buffer.from('early'))]));
    const closed = Promise.withResolvers<void>();
    (await opened).onClose(() => closed.resolve());
    socket.destroy();
    await closed.promise;
  });

  test('rejects the senders that wait when the other side goes', async () => {
    const { pair } = await startStreams();
    const { daemon, client } = await pair();
    const waiting = Promise.allSettled(Array.from({ length: 50 }, () => daemon.send(frameKind.stdout, Buffer.alloc(mebibyte))));
    client.destroy();
    const settled = await waiting;
    expect(settled.some((result) => result.status === 'rejected')).toBe(true);
    expect(settled.every((result) => result.status === 'fulfilled' || (result.reason as { code?: string }).code === 'operation_failed')).toBe(true);
  });

  test('with a malformed frame is closed and harms nobody', async () => {
    const { offer, socketPath, raw } = await startStreams();
    const { ticket, opened } = await offer();
    const socket = connectSocket({ path: socketPath });
    socket.on('error', () => {});
    socket.write(Buffer.concat([Buffer.from(`{"attach":"${ticket}"}\n`), Buffer.from([0, 0xff, 0xff, 0xff, 0xff])]));
    const daemon = await opened;
    let closed = false;
    daemon.onClose(() => { closed = true; });
    daemon.onFrame(() => {});
    await waitFor('the close', () => closed);
    socket.destroy();
    expect(await (await raw()).ask('ping')).toMatchObject({ result: { pong: true } });
  });

  test('takes frames of 1 MiB and refuses more', async () => {
    const { pair } = await startStreams();
    const { daemon, client } = await pair();
    const got: number[] = [];
    client.onFrame((_kind, payload) => void got.push(payload.length));
    await daemon.send(frameKind.stdout, Buffer.alloc(maxFramePayload));
    await expect(daemon.send(frameKind.stdout, Buffer.alloc(maxFramePayload + 1))).rejects.toThrow(RangeError);
    await waitFor('the frame', () => got.length === 1);
    expect(got).toEqual([maxFramePayload]);
  });
});

describe('a ticket', () => {
  const exitError = async (stream: FrameStream): Promise<{ kind: number; error: { code: string; message: string } }> => {
    const got = Promise.withResolvers<{ kind: number; error: { code: string; message: string } }>();
    stream.onFrame((kind, payload) => got.resolve({ kind, ...JSON.parse(payload.toString()) as { error: { code: string; message: string } } }));
    return got.promise;
  };

  test('serves once', async () => {
    const { offer, socketPath, server } = await startStreams();
    const { ticket, opened } = await offer();
    const first = await attach(socketPath, ticket);
    await opened;
    const second = await attach(socketPath, ticket);
    expect(await exitError(second)).toMatchObject({ kind: frameKind.exit, error: { code: 'not_found' } });
    let closed = false;
    second.onClose(() => { closed = true; });
    await waitFor('the end of the second', () => closed);
    expect(server.stats().tickets).toBe(0);
    first.destroy();
  });

  test('expires, and `open` is never called then', async () => {
    const { offer, expired, socketPath, server } = await startStreams({ limits: { ticketMs: 1 } });
    const { ticket, opened } = await offer();
    let open = false;
    void opened.then(() => { open = true; });
    await waitFor('the expiry', () => expired.length === 1);
    expect(expired).toEqual([ticket]);
    const stream = await attach(socketPath, ticket);
    expect(await exitError(stream)).toMatchObject({ error: { code: 'not_found' } });
    expect(open).toBe(false);
    expect(server.stats().tickets).toBe(0);
  });

  test('is long and random, and a wrong one opens nothing', async () => {
    const { offer, socketPath } = await startStreams();
    const tickets = await Promise.all([offer(), offer()]);
    expect(tickets[0].ticket).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(tickets[0].ticket).not.toBe(tickets[1].ticket);
    for (const wrong of ['', 'x', `${tickets[0].ticket}x`, '__proto__']) {
      expect(await exitError(await attach(socketPath, wrong))).toMatchObject({ error: { code: 'not_found' } });
    }
  });

  test('is refused to a connection that hoards them', async () => {
    const { raw } = await startStreams({ limits: { maxTicketsPerPeer: 2 } });
    const client = await raw();
    await client.ask('test.stream');
    await client.ask('test.stream');
    expect((await client.ask('test.stream')).error?.data.code).toBe('busy');
  });

  test('works on the first line only', async () => {
    const { offer, raw } = await startStreams();
    const { ticket } = await offer();
    const client = await raw();
    await client.ask('ping');
    client.send(`{"attach":"${ticket}"}\n`);
    await waitFor('the refusal', () => client.replies.find((reply) => reply.id === null && reply.error?.code === -32600));
  });

  test('whose stream fails to open shows an internal error', async () => {
    const { raw, socketPath, log } = await startStreams();
    const { ticket } = (await (await raw()).ask('test.broken')).result as { ticket: string };
    const shown = await exitError(await attach(socketPath, ticket));
    expect(shown).toMatchObject({ error: { code: 'internal', message: 'internal error' } });
    expect(log.some((line) => line.level === 'error' && (line.fields['err'] as Error).message === 'secret')).toBe(true);
  });

  test('left over expires when the server closes', async () => {
    const { offer, expired, server } = await startStreams();
    const { ticket } = await offer();
    await server.close();
    expect(expired).toEqual([ticket]);
  });

  test('and the first frames may come in one write with the attach line', async () => {
    const { offer, socketPath } = await startStreams();
    const { ticket, opened } = await offer();
    const socket = connectSocket({ path: socketPath });
    await once(socket, 'connect');
    socket.write(Buffer.concat([Buffer.from(`{"attach":"${ticket}"}\n`), encodeFrame(frameKind.stdin, Buffer.from('early'))]));
    const daemon = await opened;
    const payload = await new Promise<string>((resolve) => daemon.onFrame((_kind, data) => resolve(data.toString())));
    expect(payload).toBe('early');
    socket.destroy();
  });
});
