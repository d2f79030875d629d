// The method with a scripted guest behind it and the client's end of the stream in memory.
import { PassThrough, Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createActivity } from '../../core/daemon/activity.ts';
import { frameKind } from '../../core/api.ts';
import { nullLog } from '../../core/log.ts';
import { busy, notRunning, operationFailed } from '../../core/plugin-api.ts';
import type { CallContext, GuestAgent, GuestExecRequest, GuestExit, GuestProcess, Vm } from '../../core/plugin-api.ts';
import { makeCall, makePeer } from '../../test/support/vm-fixture.ts';
import { StreamClient } from '../../test/support/stream-client.ts';
import { waitFor } from '../../test/support/wait.ts';
import { createDirectCopies } from './direct.ts';
import { copyMethod } from './methods.ts';
import { copyParams } from './schema.ts';

const vm = { id: 'aaaaaaaaaaaa', name: 'devbox' } as Vm;

/** A guest's end whose every move the test makes. */
class FakeEnd implements GuestProcess {
  readonly stdout = new PassThrough();
  readonly stderr = new PassThrough();
  readonly taken: Buffer[] = [];
  /** Writes wait for this while it is set: a guest without room. */
  gate: Promise<void> | undefined;
  readonly stdin = new Writable({
    highWaterMark: 1,
    write: (chunk: Buffer, _encoding, done) => {
      void (this.gate ?? Promise.resolve()).then(() => {
        this.taken.push(chunk);
        done();
      });
    },
  });
  readonly #exit = Promise.withResolvers<GuestExit>();
  readonly exit = this.#exit.promise;
  hangups = 0;
  resize(): void {}
  signal(): void {}
  hangup(): void { this.hangups += 1; }
  end(code: number): void {
    this.stdout.end();
    this.stderr.end();
    this.#exit.resolve({ code });
  }
}

const requests: GuestExecRequest[] = [];
const activity = createActivity();
let closing: AbortController;
beforeEach(() => {
  requests.length = 0;
  closing = new AbortController();
});
afterEach(() => { expect(activity.held).toBe(0); });

const guest = (agent: Pick<GuestAgent, 'exec' | 'bulkSocket'>) => ({ agent, copies: createDirectCopies(agent) });

interface Begun { readonly end: FakeEnd; readonly client: StreamClient }

async function begin(params: object, limitSeconds = 60): Promise<Begun> {
  const [end, client, test] = [new FakeEnd(), new StreamClient(), makePeer()];
  const method = copyMethod({
    vms: { running: () => Promise.resolve(vm) }, host: { slowdown: 1 }, activity, log: nullLog, signal: closing.signal,
    ...guest({ exec: (_vm, request) => { requests.push(request); return Promise.resolve(end); }, bulkSocket: () => undefined }),
    config: { stall_timeout_seconds: limitSeconds },
  });
  expect(await method.handler(copyParams.parse({ ref: 'devbox', ...params }), makeCall({ log: nullLog, peer: test.peer }))).toEqual({ ticket: 'ticket-1' });
  expect(activity.held).toBe(1);
  test.offers[0]?.(client.stream);
  return { end, client };
}

describe('vm.copy', () => {
  it('asks the guest agent for its own program', async () => {
    const { end, client } = await begin({ direction: 'out', path: '/etc', contents: true, base: 'x', user: 'dev' });
    end.end(0);
    await client.exit();
    expect(requests).toEqual([{ command: ['copy', 'send', '--base', 'x', '--contents', '--', '/etc'], builtin: true, env: {}, stdin: false, user: 'dev' }]);
    const named = await begin({ direction: 'in', path: 'dir', name: 'a b', owners: false });
    named.end.end(0);
    await named.client.exit();
    expect(requests.pop()?.command).toEqual(['copy', 'receive', '--name', 'a b', '--', 'dir']);
    const into = await begin({ direction: 'in', path: '-x', place: 'as', devices: true, sync: true });
    into.end.end(0);
    await into.client.exit();
    expect(requests[1]).toEqual({ command: ['copy', 'receive', '--as', '--owners', '--devices', '--sync', '--', '-x'], builtin: true, env: {}, stdin: true });
  });

  it.each([
    [{ direction: 'out', path: '' }, ['path']],
    [{ direction: 'out', path: 'a\0b' }, ['path']],
    [{ direction: 'out', path: '/x', name: 'x', owners: true }, ['name', 'owners']],
    [{ direction: 'in', path: '/x', contents: true }, ['contents']],
    [{ direction: 'in', path: '/x', name: 'a/b' }, ['name']],
    [{ direction: 'in', path: '/x', name: '..' }, ['name']],
    [{ direction: 'in', path: '/x', name: 'x', place: 'as' }, ['name']],
  ])('refuses %j', (params, fields) => {
    const issues = copyParams.safeParse({ ref: 'devbox', ...params }).error?.issues.map(({ path }) => path.join('.'));
    expect(issues).toEqual(fields);
  });

  it('refuses a VM that does not run before it offers a stream', async () => {
    const method = copyMethod({
      vms: { running: () => Promise.reject(notRunning('devbox', 'stopped')) }, host: { slowdown: 1 }, activity, log: nullLog, signal: closing.signal,
      ...guest({ exec: () => Promise.reject(new Error('nobody asked for that')), bulkSocket: () => undefined }), config: { stall_timeout_seconds: 60 },
    });
    await expect(method.handler(copyParams.parse({ ref: 'devbox', direction: 'out', path: '/x' }), makeCall({ log: nullLog }))).rejects.toMatchObject({ code: 'not_running' });
  });

  it('hands the stream out whole, then the exit code', async () => {
    const { end, client } = await begin({ direction: 'out', path: '/x' });
    const sent = Buffer.alloc(1_000_000, 'tar');
    end.stdout.write(sent);
    end.stderr.write('copy: note: something\n');
    end.end(1);
    expect(await client.exit()).toEqual({ code: 1 });
    expect(client.data(frameKind.stdout).equals(sent)).toBe(true);
    expect(client.data(frameKind.stderr).toString()).toBe('copy: note: something\n');
  });

  it('hands the stream in whole, and its end', async () => {
    const { end, client } = await begin({ direction: 'in', path: '/x' });
    for (let i = 0; i < 16; i += 1) await client.send(frameKind.stdin, Buffer.alloc(65_536, i));
    await client.send(frameKind.stdin);
    await waitFor('the end of the input', () => end.stdin.writableFinished);
    expect(Buffer.concat(end.taken).length).toBe(16 * 65_536);
    end.end(0);
    expect(await client.exit()).toEqual({ code: 0 });
  });
});

describe('a guest that stalls', () => {
  const gaveUp = (message: string) => ({ error: { code: 'timeout', message: expect.stringContaining(message) as string } });

  it('while it sends, is given up and hung up', async () => {
    const { end, client } = await begin({ direction: 'out', path: '/srv' }, 0.2);
    end.stdout.write('a few bytes');
    expect(await client.exit()).toMatchObject(gaveUp('the guest of devbox to send more of /srv after 0.2 s (11 bytes moved'));
    expect(end.hangups).toBe(1);
  });

  it('while it takes, is given up', async () => {
    const { end, client } = await begin({ direction: 'in', path: '/srv' }, 0.2);
    end.gate = new Promise(() => undefined);
    void client.send(frameKind.stdin, Buffer.alloc(65_536));
    expect(await client.exit()).toMatchObject(gaveUp('the guest of devbox to take more for /srv'));
  });

  it.each(['in', 'out'] as const)('at the end of a copy %s, is given up', async (direction) => {
    const { end, client } = await begin({ direction, path: '/srv' }, 0.2);
    if (direction === 'in') await client.send(frameKind.stdin);
    else end.stdout.end();
    expect(await client.exit()).toMatchObject(gaveUp('Gave up waiting for the guest of devbox'));
  });

  it('is not what a client is that reads late', async () => {
    const { end, client } = await begin({ direction: 'out', path: '/srv' }, 0.2);
    const late = Promise.withResolvers<void>();
    client.open = late.promise;
    // More than all buffers on the way hold, so that the guest stands waiting.
    const sent = Buffer.alloc(4 * 1024 * 1024);
    for (let at = 0; at < sent.length; at += 65_536) end.stdout.write(sent.subarray(at, at + 65_536));
    const from = performance.now();
    await waitFor('the limit to have passed several times', () => performance.now() > from + 1000);
    late.resolve();
    end.end(0);
    expect(await client.exit()).toEqual({ code: 0 });
    expect(client.data(frameKind.stdout).length).toBe(sent.length);
  });
  it('is not what a client is that sends late', async () => {
    const { end, client } = await begin({ direction: 'in', path: '/srv' }, 0.2);
    await client.send(frameKind.stdin, Buffer.alloc(10));
    const from = performance.now();
    await waitFor('the limit to have passed several times', () => performance.now() > from + 1000);
    end.end(0);
    expect(await client.exit()).toEqual({ code: 0 });
  });
});

describe('a direct copy', () => {
  const socket = '/run/banger/bulk';

  /** A VM with a port for bulk data, whose next guest ends are those given. */
  function directMethod(ends: (FakeEnd | Error)[], limitSeconds = 60) {
    return copyMethod({
      vms: { running: () => Promise.resolve(vm) }, host: { slowdown: 1 }, activity, log: nullLog, signal: closing.signal, config: { stall_timeout_seconds: limitSeconds },
      ...guest({
        bulkSocket: () => socket,
        exec: (_vm, request) => {
          requests.push(request);
          const end = ends.shift();
          return end instanceof FakeEnd ? Promise.resolve(end) : Promise.reject(end ?? new Error('no end is left'));
        },
      }),
    });
  }
  const ask = async (method: ReturnType<typeof directMethod>, params: object) => {
    const [client, test] = [new StreamClient(), makePeer()];
    const result = await method.handler(copyParams.parse({ ref: 'devbox', path: '/srv', direct: true, ...params }), makeCall({ log: nullLog, peer: test.peer }));
    return { client, result, attach: () => test.offers[0]?.(client.stream), expire: () => test.expiries[0]?.() };
  };

  it('begins the guest at its port before the client hears of it', async () => {
    const end = new FakeEnd();
    const { result, client, attach } = await ask(directMethod([end]), { direction: 'in' });
    expect(result).toEqual({ ticket: 'ticket-1', direct: { socket, hello: expect.stringMatching(/^[0-9a-f]{32}$/) as string, stallLimitMs: 60_000, floorBytesPerSecond: 1024 } });
    expect(requests).toEqual([{ command: ['copy', 'receive', '--port', result.direct?.hello, '--owners', '--', '/srv'], builtin: true, env: {}, stdin: false, bulk: 'stdin' }]);
    attach();
    end.stderr.write('copy: note: something\n');
    end.end(1);
    expect(await client.exit()).toEqual({ code: 1 });
    expect(client.data(frameKind.stderr).toString()).toBe('copy: note: something\n');
  });

  it('out of a guest has its port as stdout', async () => {
    const end = new FakeEnd();
    const { client, attach } = await ask(directMethod([end]), { direction: 'out' });
    expect(requests[0]).toMatchObject({ command: ['copy', 'send', '--port', expect.any(String), '--', '/srv'], bulk: 'stdout' });
    attach();
    end.end(0);
    expect(await client.exit()).toEqual({ code: 0 });
  });

  it('has the port to itself: the next copy goes through the daemon until the first is over', async () => {
    const [first, second, third] = [new FakeEnd(), new FakeEnd(), new FakeEnd()];
    const method = directMethod([first, second, third]);
    const begun = [await ask(method, { direction: 'in' }), await ask(method, { direction: 'in' })];
    for (const { attach } of begun) attach();
    expect(begun.map(({ result }) => result.direct !== undefined)).toEqual([true, false]);
    for (const end of [first, second]) end.end(0);
    for (const { client } of begun) await client.exit();
    expect(requests.map(({ bulk }) => bulk)).toEqual(['stdin', undefined]);
    const after = await ask(method, { direction: 'in' });
    expect(after.result.direct).toBeDefined();
    after.attach();
    third.end(0);
    await after.client.exit();
  });

  it('goes through the daemon where the guest does not give its port', async () => {
    const end = new FakeEnd();
    const { result, client, attach } = await ask(directMethod([operationFailed('cannot open the port: Device or resource busy'), end]), { direction: 'out' });
    expect(result).toEqual({ ticket: 'ticket-1' });
    attach();
    end.stdout.write('tar');
    end.end(0);
    expect(await client.exit()).toEqual({ code: 0 });
    expect(client.data(frameKind.stdout).toString()).toBe('tar');
  });

  it.each(['in', 'out'] as const)('%s: the guest must end within the limit once the client is through, not before', async (direction) => {
    const end = new FakeEnd();
    const { client, attach } = await ask(directMethod([end], 0.2), { direction });
    attach();
    await client.send(frameKind.keepalive);
    const from = performance.now();
    await waitFor('the limit to have passed several times', () => performance.now() > from + 1000);
    expect(end.hangups).toBe(0);
    await client.send(frameKind.stdin);
    expect(await client.exit()).toMatchObject({ error: { code: 'timeout' } });
    expect(end.hangups).toBe(1);
    end.end(3);
  });

  it('is hung up when its client may have no more streams', async () => {
    const end = new FakeEnd();
    const full: CallContext['peer'] = { ...makePeer().peer, offerStream: () => { throw busy('The connection', '8 streams wait to be attached'); } };
    const params = copyParams.parse({ ref: 'devbox', path: '/srv', direct: true, direction: 'in' });
    await expect(directMethod([end]).handler(params, makeCall({ log: nullLog, peer: full }))).rejects.toMatchObject({ code: 'busy' });
    expect([end.hangups, activity.held]).toEqual([1, 0]);
  });

  it('is hung up when its client never comes', async () => {
    const end = new FakeEnd();
    const { expire } = await ask(directMethod([end]), { direction: 'in' });
    expire();
    expect(end.hangups).toBe(1);
    end.end(3);
  });
});

describe('an end from outside', () => {
  it('hangs the guest up when the client is gone', async () => {
    const { end, client } = await begin({ direction: 'out', path: '/srv' });
    await client.send(frameKind.keepalive);
    client.close();
    await waitFor('the hangup', () => end.hangups > 0);
    end.end(3);
    await waitFor('the copy to be over', () => activity.held === 0);
  });

  it('ends the copy when the daemon closes', async () => {
    const { client } = await begin({ direction: 'in', path: '/srv' });
    await client.send(frameKind.keepalive);
    closing.abort();
    expect(await client.exit()).toMatchObject({ error: { code: 'cancelled' } });
  });
});
