// What guests say listens in them: recorded, cut, absurd, endless and slow.
import { expect, test } from 'vitest';
import { waitFor } from '../../../test/support/wait.ts';
import type { ListenerSnapshot } from '../capability.ts';
import { listListeners, watchListeners } from './ports.ts';
import type { WatchOptions } from './ports.ts';
import { saying, scriptedAgent, testVm } from './testing/agents.ts';
import type { Scripted, ScriptedAgent } from './testing/agents.ts';

const signal = new AbortController().signal;
const list = (text: string, limitMs = 60_000): Promise<ListenerSnapshot> => listListeners(saying(text), testVm, { signal, limitMs });
const recorded = 'tcp 4 00000000 22 0 512 sshd\ntcp 6 00000000000000000000000000000000 22 0 512 sshd\ntcp 6 20010db8000000000000000000000001 443 33 700 nginx:%20master\n'
  + 'tcp 4 7f000001 5432 999 800 postgres\nudp 4 7f000035 53 101 400 systemd-resolve\nudp 4 00000000 68 0 0 -\nend 6 0\n';

test('makes a list of what the agent says, sorted', async () => {
  const agent = saying(recorded);
  expect(await listListeners(agent, testVm, { signal, limitMs: 60_000 })).toEqual({
    listeners: [
      { protocol: 'tcp', address: '0.0.0.0', port: 22, uid: 0, pid: 512, process: 'sshd' },
      { protocol: 'tcp', address: '::', port: 22, uid: 0, pid: 512, process: 'sshd' },
      { protocol: 'tcp', address: '2001:db8::1', port: 443, uid: 33, pid: 700, process: 'nginx: master' },
      { protocol: 'tcp', address: '127.0.0.1', port: 5432, uid: 999, pid: 800, process: 'postgres' },
      { protocol: 'udp', address: '127.0.0.53', port: 53, uid: 101, pid: 400, process: 'systemd-resolve' },
      { protocol: 'udp', address: '0.0.0.0', port: 68, uid: 0 },
    ],
    more: 0,
  });
  expect(agent.begun[0]!.request).toEqual({ command: ['ports'], builtin: true, background: true, env: {}, stdin: false });
  expect(await list('end 0 12345\n')).toEqual({ listeners: [], more: 12_345 });
});

test('calls an IPv4 address by its name wherever it is, and tells it once', async () => {
  const both = 'tcp 4 7f000001 80 0 1 a\ntcp 6 00000000000000000000ffff7f000001 80 0 2 b\ntcp 6 00000000000000000000ffff0a000001 80 0 2 b\nend 3 0\n';
  expect((await list(both)).listeners.map(({ address, pid }) => [address, pid])).toEqual([['10.0.0.1', 2], ['127.0.0.1', 1]]);
});

test('shows names of any bytes', async () => {
  const name = async (escaped: string): Promise<string | undefined> => (await list(`tcp 4 00000000 1 0 5 ${escaped}\nend 1 0\n`)).listeners[0]!.process;
  expect(await name('%C3%BCber%25')).toBe('über%');
  expect(await name('%1B[31m%0Ared%7F')).toBe('?[31m?red?');
  expect(await name('%E2%80%AEevil')).toBe('?evil');
  expect(await name('%FF%FE')).toBe('\u{FFFD}\u{FFFD}');
  expect(await name('%zz%')).toBe('%zz%');
});

test('takes as many as the agent tells of', async () => {
  const lines = Array.from({ length: 2048 }, (_, i) => `tcp 6 ${'f'.repeat(28)}${i.toString(16).padStart(4, '0')} ${i + 1} 4294967295 2147483647 ${'%00'.repeat(31)}\n`);
  const found = await list(`${lines.join('')}end 2048 999999999\n`);
  expect([found.listeners.length, found.more]).toEqual([2048, 999_999_999]);
});

const one = (line: string): string => `${line}\nend 1 0\n`;
test.each([
  ['nothing', ''], ['half a line', 'tcp 4 000000'], ['no end', recorded.slice(0, recorded.indexOf('end'))], ['half an end', recorded.slice(0, -1)],
  ['fewer lines than it says', recorded.replace('end 6', 'end 7')], ['more lines than it says', recorded.replace('end 6', 'end 5')], ['something after the end', `${recorded}tcp`], ['two snapshots', recorded.repeat(2)],
  ['a negative number of others', 'end 0 -1\n'], ['a huge number of others', 'end 0 9999999999\n'], ['an end without numbers', 'end \n'],
  ['a negative port', one('tcp 4 00000000 -1 0 1 a')], ['port 0', one('tcp 4 00000000 0 0 1 a')], ['a huge port', one('tcp 4 00000000 65536 0 1 a')], ['a port in words', one('tcp 4 00000000 http 0 1 a')], ['a fraction of a port', one('tcp 4 00000000 1.5 0 1 a')],
  ['a huge pid', one('tcp 4 00000000 1 0 2147483648 a')], ['a negative pid', one('tcp 4 00000000 1 0 -5 a')], ['a huge uid', one('tcp 4 00000000 1 4294967296 1 a')],
  ['another protocol', one('sctp 4 00000000 1 0 1 a')], ['another family', one('tcp 5 00000000 1 0 1 a')], ['an IPv6 address as IPv4', one(`tcp 4 ${'0'.repeat(32)} 1 0 1 a`)], ['half an address', one('tcp 4 0000 1 0 1 a')],
  ['no name', one('tcp 4 00000000 1 0 1 ')], ['a name with a space', one('tcp 4 00000000 1 0 1 a b')], ['a raw control character', one('tcp 4 00000000 1 0 1 a\x1B')], ['a long name', one(`tcp 4 00000000 1 0 1 ${'a'.repeat(94)}`)],
  ['a line without end', 'a'.repeat(100_000)], ['a long line', one(`tcp ${'4'.repeat(300)}`)], ['one line more than there may be', `${'tcp 4 00000000 1 0 1 a\n'.repeat(2049)}end 2049 0\n`],
])('refuses %s', async (_what, text) => {
  await expect(list(text)).rejects.toMatchObject({ code: 'operation_failed', message: expect.stringContaining('devbox') as string });
});

test('gives up a list without an end, and one that comes byte by byte', async () => {
  const endless = scriptedAgent((guest) => {
    const more = (): void => { while (!guest.stdout.destroyed && guest.stdout.write('tcp 4 00000000 1 0 1 a\n'.repeat(100))); };
    guest.stdout.on('drain', more);
    more();
  });
  await expect(listListeners(endless, testVm, { signal, limitMs: 60_000 })).rejects.toMatchObject({ code: 'operation_failed' });
  expect(endless.begun[0]!.left()).toBe(true);
  await expect(listListeners(dripping(), testVm, { signal, limitMs: 100 })).rejects.toMatchObject({ code: 'timeout' });
});

/** Says one byte of a snapshot now and then, and never its end. */
const dripping = (): ScriptedAgent => scriptedAgent((guest) => {
  const timer = setInterval(() => {
    if (guest.stdout.destroyed) clearInterval(timer);
    else guest.stdout.write('t');
  }, 2);
});

interface Watched { readonly guest: Scripted; readonly seen: ListenerSnapshot[]; readonly done: Promise<void>; readonly stop: AbortController; readonly agent: ScriptedAgent }

async function watch(options: Partial<WatchOptions> = {}, agent = scriptedAgent(() => undefined)): Promise<Watched> {
  const seen: ListenerSnapshot[] = [];
  const stop = new AbortController();
  const done = watchListeners(agent, testVm, { signal: stop.signal, limitMs: 60_000, paceMs: 1, onChange: (snapshot) => { seen.push(snapshot); }, ...options });
  done.catch(() => undefined);
  const guest = await waitFor('the program to begin', () => agent.begun[0]);
  return { guest, seen, done, stop, agent };
}
const ports = (...numbers: number[]): string => `${numbers.map((port) => `tcp 4 00000000 ${port} 0 5 node\n`).join('')}end ${numbers.length} 0\n`;
const portsOf = (seen: readonly ListenerSnapshot[]): number[][] => seen.map(({ listeners }) => listeners.map(({ port }) => port));

test('tells the first snapshot and each change, and no sign of life', async () => {
  const { guest, seen, done, stop } = await watch();
  expect(guest.request).toMatchObject({ command: ['ports', '--watch'], builtin: true, background: true });
  guest.stdout.write(ports(22));
  await waitFor('the first', () => seen.length === 1);
  guest.stdout.write(ports(22) + ports(22) + ports(22, 3000).slice(0, 30));
  guest.stdout.write(ports(22, 3000).slice(30));
  await waitFor('a change', () => seen.length === 2);
  guest.stdout.write(ports());
  await waitFor('the end of all', () => seen.length === 3);
  expect(portsOf(seen)).toEqual([[22], [22, 3000], []]);
  stop.abort();
  await done;
  expect(guest.left()).toBe(true);
});

test('tells nothing any more once it has ended', async () => {
  const { guest, seen, done, stop } = await watch();
  stop.abort();
  await done;
  guest.stdout.write(ports(22));
  guest.exit({ code: 0 });
  expect(seen).toEqual([]);
  const before: ListenerSnapshot[] = [];
  await watchListeners(saying(ports(22)), testVm, { signal: stop.signal, limitMs: 60_000, onChange: (snapshot) => { before.push(snapshot); } });
  expect(before).toEqual([]);
});

test.each<[string, (guest: Scripted) => void, object]>([
  ['ends by itself', (guest) => guest.exit({ code: 0 }), { code: 'operation_failed' }],
  ['is killed', (guest) => guest.exit({ signal: 'KILL', number: 9 }), { code: 'operation_failed', message: expect.stringContaining('KILL') as string }],
  ['is too old', (guest) => guest.exit({ code: 2 }), { code: 'unsupported' }],
  ['goes with its session', (guest) => guest.lose(new Error('lost contact')), { message: 'lost contact' }],
  ['says nonsense', (guest) => guest.stdout.write('hello\nend 1 0\n'), { code: 'operation_failed' }],
  ['says a line without end', (guest) => guest.stdout.write('x'.repeat(1000)), { code: 'operation_failed' }],
  ['says lines without end', (guest) => guest.stdout.write('tcp 4 00000000 1 0 1 a\n'.repeat(3000)), { code: 'operation_failed' }],
])('fails when the program in the guest %s, and leaves it', async (_what, act, error) => {
  const { guest, seen, done } = await watch();
  guest.stdout.write(ports(22));
  await waitFor('the first', () => seen.length === 1);
  act(guest);
  await expect(done).rejects.toMatchObject(error);
  expect(guest.left()).toBe(true);
  expect(seen.length).toBe(1);
});

test('gives up a guest that is silent, or drips, from the beginning or later', async () => {
  const silent = await watch({ limitMs: 50 });
  await expect(silent.done).rejects.toMatchObject({ code: 'timeout' });
  const drips = await watch({ limitMs: 100 }, dripping());
  await expect(drips.done).rejects.toMatchObject({ code: 'timeout' });
  const later = await watch({ silenceMs: 50 });
  later.guest.stdout.write(ports(22));
  await expect(later.done).rejects.toMatchObject({ code: 'timeout', message: expect.stringContaining('0.1 s') as string });
  for (const { guest } of [silent, drips, later]) expect(guest.left()).toBe(true);
  const never = { exec: () => new Promise<never>(() => undefined) };
  await expect(watchListeners(never, testVm, { signal, limitMs: 50, onChange: () => undefined })).rejects.toMatchObject({ code: 'timeout' });
});

test('a sign of life is enough to be believed alive', async () => {
  const { guest, seen, done, stop } = await watch({ silenceMs: 400 });
  const alive = setInterval(() => guest.stdout.write(ports(22)), 50);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  clearInterval(alive);
  guest.stdout.write(ports(23));
  await waitFor('a change', () => seen.length === 2);
  stop.abort();
  await done;
});

test('a guest that floods is read at the pace of the host', async () => {
  let written = 0;
  const flood = scriptedAgent((guest) => {
    let port = 1;
    const more = (): void => {
      while (!guest.stdout.destroyed && guest.stdout.write(ports((port += 1) % 60_000 + 1))) written += 1;
    };
    guest.stdout.on('drain', more);
    more();
  });
  const { seen, done, stop } = await watch({ paceMs: 20 }, flood);
  await waitFor('some', () => seen.length >= 5);
  const before = written;
  await waitFor('more', () => seen.length >= 10);
  // Nothing was read for these: they were in the buffers.
  expect([written, seen.length < 1000]).toEqual([before, true]);
  stop.abort();
  await done;
});

test('a guest whose snapshots are much work takes a small part of the time of the daemon', async () => {
  const flood = scriptedAgent((guest) => {
    let port = 1;
    const more = (): void => {
      while (!guest.stdout.destroyed && guest.stdout.write(ports((port += 1) % 60_000 + 1)));
    };
    guest.stdout.on('drain', more);
    more();
  });
  const taken: number[] = [];
  const onChange = (): void => {
    taken.push(performance.now());
    for (const end = performance.now() + 20; performance.now() < end;);
  };
  const { done, stop } = await watch({ onChange }, flood);
  await waitFor('five', () => taken.length >= 5);
  // A tenth, each with its rest.
  expect(taken[4]! - taken[0]!).toBeGreaterThan(4 * 200);
  stop.abort();
  await done;
});

test('a taker that throws ends the watch', async () => {
  const { guest, done } = await watch({ onChange: () => { throw new Error('no'); } });
  guest.stdout.write(ports(22));
  await expect(done).rejects.toThrow('no');
  expect(guest.left()).toBe(true);
});
