// The host's side of the conversation about a guest's clock, against scripted guests.
import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import type { GuestExecRequest, GuestExit, GuestProcess, Vm } from '../../core/plugin-api.ts';
import { syncClock } from './clock.ts';
import { idle, quietLog } from './test-agent.ts';

const vm = { id: 'a', name: 'devbox' } as Vm;
const hostMs = 1_800_000_000_000;

interface Guest {
  /** How far its clock is ahead. */
  offMs: number;
  /** How long the way there and back takes by the clock of the host; the way there is all of it. */
  tripMs?: number;
  readonly said: string[];
  hungUp: boolean;
  /** In place of what an agent answers. */
  readonly answers?: (words: string) => string | undefined;
}

function makeGuest(more: Partial<Guest> = {}) {
  const guest: Guest = { offMs: 0, said: [], hungUp: false, ...more };
  const requests: GuestExecRequest[] = [];
  const exit = Promise.withResolvers<GuestExit>();
  let awakeMs = 500;
  const answer = (words: string): string | undefined => {
    if (guest.answers !== undefined) return guest.answers(words);
    awakeMs += guest.tripMs ?? 0;
    if (words === 'get') return `${BigInt(Math.round((hostMs + awakeMs - 500 + guest.offMs) * 1000)) * 1000n}\n`;
    guest.offMs += Number(words.split(' ')[1]) / 1e6;
    return 'ok\n';
  };
  const exec = (_: Vm, request: GuestExecRequest): Promise<GuestProcess> => {
    requests.push(request);
    const stdin = new PassThrough();
    const stdout = new PassThrough();
    stdin.on('data', (chunk: Buffer) => {
      const words = chunk.toString().trimEnd();
      guest.said.push(words);
      const text = answer(words);
      if (text !== undefined) stdout.write(text);
    });
    return Promise.resolve({
      stdin, stdout, stderr: new PassThrough(), exit: exit.promise, resize: () => undefined, signal: () => undefined, hangup: () => { guest.hungUp = true; },
    });
  };
  const clocks = { wallMs: () => hostMs + awakeMs - 500, bootMs: () => awakeMs, awakeMs: () => awakeMs };
  const sync = (limitMs = 10_000, signal = idle): Promise<void> => syncClock({ agent: { exec }, clocks, log: quietLog, limitMs }, vm, signal);
  return { guest, requests, exit, sync };
}
const steps = (guest: Guest): string[] => guest.said.filter((words) => words.startsWith('step'));

it.each([
  ['an hour behind', -3_600_000.25], ['a little behind', -51], ['ahead', 2_000], ['born anew', -hostMs],
])('steps a clock that is %s', async (_, offMs) => {
  const { guest, requests, sync } = makeGuest({ offMs });
  await sync();
  expect(steps(guest)).toHaveLength(1);
  expect(Math.abs(guest.offMs)).toBeLessThan(0.01);
  expect(requests).toEqual([{ command: ['clock'], builtin: true, env: {}, stdin: true, background: true }]);
  expect(guest.hungUp).toBe(true);
});

it.each([
  ['right', 0, 0], ['off by less than anybody notices', 50, 0], ['maybe right, as far as a slow guest lets one see', 40, 200],
])('leaves a clock alone that is %s', async (_, offMs, tripMs) => {
  const { guest, sync } = makeGuest({ offMs, tripMs });
  await sync();
  expect(steps(guest)).toEqual([]);
  expect(guest.said).toEqual(['get', 'get', 'get']);
});

it('takes the quickest answer for the truest', async () => {
  const { guest, sync } = makeGuest({ offMs: -1_000, tripMs: 900 });
  const trips = [900, 10, 700];
  Object.defineProperty(guest, 'tripMs', { get: () => trips.shift() ?? 0 });
  await sync();
  expect(Math.abs(guest.offMs)).toBeLessThanOrEqual(5);
});

it.each([
  ['no number', 'soon\n', 'operation_failed'], ['a negative one', '-5\n', 'operation_failed'], ['a huge one', `${'9'.repeat(21)}\n`, 'operation_failed'],
  ['nothing', undefined, 'timeout'], ['a line without end', 'x'.repeat(1_000), 'operation_failed'], ['one byte and no more', '1', 'timeout'],
  ['much at once', '1\n'.repeat(1_000), 'operation_failed'],
])('gives a guest up that says %s', async (_, text, code) => {
  const { guest, sync } = makeGuest({ answers: () => text });
  await expect(sync(code === 'timeout' ? 50 : 10_000)).rejects.toMatchObject({ code });
  expect(guest.hungUp).toBe(true);
});

it('says that the guest refuses, in words of its own', async () => {
  for (const [text, message] of [['error 1\n', /error 1/], ['\u001b[31mevil\n', /no answer that is known/]] as const) {
    const { sync } = makeGuest({ answers: (words) => (words === 'get' ? '0\n' : text) });
    await expect(sync()).rejects.toMatchObject({ code: 'operation_failed', message });
  }
});

it('tells an agent that is too old, a lost session, and a caller that left', async () => {
  const old = makeGuest({ answers: () => undefined });
  old.exit.resolve({ code: 2 });
  await expect(old.sync()).rejects.toMatchObject({ code: 'unsupported' });
  const gone = makeGuest({ answers: () => undefined });
  gone.exit.reject(new Error('lost contact'));
  await expect(gone.sync()).rejects.toThrow('lost contact');
  const control = new AbortController();
  const left = makeGuest({ answers: () => undefined });
  const asking = left.sync(10_000, control.signal);
  control.abort();
  await expect(asking).rejects.toMatchObject({ code: 'cancelled' });
});
