// Figures of guests: recorded, cut, absurd, endless and slow ones.
import { expect, test } from 'vitest';
import { askStat, parseStat } from './stat.ts';
import { saying, scriptedAgent, testVm } from './testing/agents.ts';
import type { ScriptedAgent } from './testing/agents.ts';
import { waitFor } from '../../../test/support/wait.ts';

const section = (name: string, body: string): string => `${name} ${Buffer.byteLength(body, 'latin1')}\n${body}\n`;
/** A guest of 512 MiB. */
const bodies = {
  stat: 'cpu  1200 30 450 98000 700 5 60 40 11 0\nbtime 1795305647\n',
  meminfo: 'MemTotal:         497284 kB\nMemFree:          301204 kB\nMemAvailable:     402116 kB\nBuffers:            9000 kB\nSwapCached:            0 kB\nSwapTotal:         65536 kB\nSwapFree:          65000 kB\nHugePages_Total:       0\n',
  loadavg: '0.42 0.20 1.07 2/87 913\n',
  uptime: '998.31 980.02\n',
  netdev: '  eth0: 6890115   20098    0    0    0     0          0         0 10980  1084    0    0    0     0       0          0\nenp0s4:100 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n',
  'fs:/': '4096 2000000 1500000 1400000 524288 500000\n',
  'fs:/root': '4096 1000 900 800 100 90\n',
};
const whole = (changes: Readonly<Record<string, string>> = {}): string => Object.entries({ ...bodies, ...changes }).map(([name, body]) => section(name, body)).join('');
const signal = new AbortController().signal;
const asked = (agent: ScriptedAgent, limitMs = 60_000): ReturnType<typeof askStat> => askStat(agent, testVm, { signal, limitMs });

test('makes figures of what the kernel says', async () => {
  const agent = saying(whole());
  expect(await asked(agent)).toEqual({
    cpu: { busySeconds: 17.45, idleSeconds: 987, stolenSeconds: 0.4 },
    bootedAtMs: 1_795_305_647_000, uptimeSeconds: 998.31, load: [0.42, 0.2, 1.07], tasks: { running: 2, all: 87 },
    memory: { totalBytes: 497_284 * 1024, availableBytes: 402_116 * 1024, usedBytes: 95_168 * 1024, swapTotalBytes: 65_536 * 1024, swapFreeBytes: 65_000 * 1024 },
    network: { rxBytes: 6_890_215, txBytes: 11_000 },
    fileSystems: [
      { path: '/', totalBytes: 8_192_000_000, usedBytes: 2_048_000_000, availableBytes: 5_734_400_000, inodes: 524_288, freeInodes: 500_000 },
      { path: '/root', totalBytes: 4_096_000, usedBytes: 409_600, availableBytes: 3_276_800, inodes: 100, freeInodes: 90 },
    ],
    odd: [],
  });
  expect(agent.begun[0]!.request).toEqual({ command: ['stat'], builtin: true, background: true, env: {}, stdin: false });
});

test('leaves out what the guest does not tell', () => {
  expect(parseStat(testVm, section('uptime', bodies.uptime) + section('netdev', ''))).toEqual({ uptimeSeconds: 998.31, network: { rxBytes: 0, txBytes: 0 }, fileSystems: [], odd: [] });
  expect(parseStat(testVm, section('stat', 'cpu  1 1 1 1\n')).cpu).toEqual({ busySeconds: 0.03, idleSeconds: 0.01, stolenSeconds: 0 });
  expect(parseStat(testVm, section('meminfo', 'MemTotal: 10 kB\nMemAvailable: 5 kB\n')).memory).toMatchObject({ swapTotalBytes: 0, swapFreeBytes: 0 });
  // What a newer agent adds.
  expect(parseStat(testVm, section('later', 'x') + section('uptime', bodies.uptime))).toEqual({ uptimeSeconds: 998.31, fileSystems: [], odd: [] });
  // A clock beyond all dates.
  expect(parseStat(testVm, section('stat', 'cpu  1 1 1 1\nbtime 999999999999999\n'))).not.toHaveProperty('bootedAtMs');
});

const huge = '9'.repeat(40);
test.each<[string, string, string]>([
  ['a negative CPU time', 'stat', 'cpu  -5 1 1 1 1 1 1 1 1 1\nbtime 1\n'],
  ['a huge CPU time', 'stat', `cpu  ${huge} 1 1 1 1 1 1 1 1 1\n`],
  ['words for CPU times', 'stat', 'cpu  NaN 1 1 1\n'],
  ['too few CPU times', 'stat', 'cpu  1 1 1\n'],
  ['too many CPU times', 'stat', `cpu  ${'1 '.repeat(21)}\n`],
  ['an exponent', 'stat', 'cpu  1e9 1 1 1\n'],
  ['less memory than is available', 'meminfo', 'MemTotal: 10 kB\nMemAvailable: 11 kB\n'],
  ['no memory', 'meminfo', 'MemTotal: 0 kB\nMemAvailable: 0 kB\n'],
  ['negative memory', 'meminfo', 'MemTotal: 10 kB\nMemAvailable: -1 kB\n'],
  ['huge memory', 'meminfo', `MemTotal: ${huge} kB\nMemAvailable: 1 kB\n`],
  ['more swap free than there is', 'meminfo', 'MemTotal: 10 kB\nMemAvailable: 1 kB\nSwapTotal: 1 kB\nSwapFree: 2 kB\n'],
  ['memory in other units', 'meminfo', 'MemTotal: 10 MB\nMemAvailable: 1 MB\n'],
  ['an infinite load', 'loadavg', 'inf 0.1 0.1 1/2 3\n'],
  ['a negative load', 'loadavg', '-0.1 0.1 0.1 1/2 3\n'],
  ['a negative uptime', 'uptime', '-1.0 0.0\n'],
  ['a huge uptime', 'uptime', `${huge} 0.0\n`],
  ['an empty uptime', 'uptime', ''],
  ['a negative count of bytes', 'netdev', 'eth0: -1 0 0 0 0 0 0 0 0 0\n'],
  ['a huge count of bytes', 'netdev', `eth0: ${huge} 0 0 0 0 0 0 0 0 0\n`],
  ['half a row', 'netdev', 'eth0: 1 2 3\n'],
  ['bytes of more interfaces than there can be', 'netdev', 'eth0: 1 0 0 0 0 0 0 0 1 0\n'.repeat(257)],
  ['sums that are not exact', 'netdev', 'eth0: 999999999999999 0 0 0 0 0 0 0 1 0\n'.repeat(10)],
  ['more blocks free than there are', 'fs:/', '4096 10 11 5 0 0\n'],
  ['more blocks for users than free', 'fs:/', '4096 10 5 6 0 0\n'],
  ['blocks of no size', 'fs:/', '0 10 5 5 0 0\n'],
  ['a disk beyond numbers', 'fs:/', '1048576 999999999999999 1 1 0 0\n'],
  ['a negative disk', 'fs:/', '4096 -10 5 5 0 0\n'],
  ['binary rubbish', 'fs:/', '\0\xFF\n\n'],
])('leaves out and names a section that makes no sense: %s', (_what, name, body) => {
  const found = parseStat(testVm, whole({ [name]: body }));
  expect(found.odd).toEqual([name]);
  const said = JSON.stringify(found);
  expect(said).not.toMatch(/null|-\d|e\+/);
  // All else is as it would be.
  const rest = parseStat(testVm, Object.entries(bodies).filter(([other]) => other !== name).map((entry) => section(...entry)).join(''));
  expect({ ...found, odd: [] }).toEqual(rest);
});

test.each([
  ['stat', `cpu${' '.repeat(99_000)}x\n`], ['stat', `cpu 1${' '.repeat(99_000)}x\n`], ['stat', 'cpu \n'.repeat(19_000)], ['stat', `btime ${'1'.repeat(99_000)}\n`],
  ['meminfo', `MemTotal:${' '.repeat(99_000)}\n`], ['meminfo', 'MemTotal: \n'.repeat(9000)], ['loadavg', `${'1'.repeat(99_000)}\n`], ['uptime', `1.${' '.repeat(99_000)}\n`],
  ['netdev', `eth0:${' '.repeat(99_000)}x\n`], ['netdev', '1\n'.repeat(49_000)], ['fs:/', `4096${' '.repeat(99_000)}x\n`],
])('a section made to be slow costs no time: %s', (name, body) => {
  const began = performance.now();
  expect(parseStat(testVm, whole({ [name]: body })).odd).toEqual([name]);
  // Far more than it takes; a pattern that tries every way takes most of a minute, and the daemon does nothing else meanwhile, for any VM.
  expect(performance.now() - began).toBeLessThan(10_000);
});

test('the first of two sections counts', () => {
  expect(parseStat(testVm, whole() + section('uptime', '5.0 5.0\n')).uptimeSeconds).toBe(998.31);
});

test.each([
  ['nothing', ''], ['half a line', 'stat 1'], ['half a section', whole().slice(0, 40)], ['all but the last byte', whole().slice(0, -1)],
  ['a negative length', 'stat -5\nabc\n'], ['a length beyond the end', 'stat 99999\nabc\n'], ['a huge length', `stat ${huge}\nabc\n`],
  ['no section', 'hello\n'], ['a name of 64 KiB', `${'n'.repeat(65_536)} 1\nx\n`], ['rubbish after a section', `${section('uptime', '1.0 1.0\n')}x`],
])('refuses an answer that is %s', async (_what, text) => {
  await expect(asked(saying(text))).rejects.toMatchObject({ code: 'operation_failed', message: expect.stringContaining('devbox') as string });
});

test('gives up a guest that never ends its answer, and leaves it', async () => {
  const agent = scriptedAgent((guest) => {
    const more = (): void => { while (!guest.stdout.destroyed && guest.stdout.write(Buffer.alloc(4096, 'x'))); };
    guest.stdout.on('drain', more);
    more();
  });
  await expect(asked(agent)).rejects.toMatchObject({ code: 'operation_failed', message: expect.stringMatching(/more than \d+ bytes/) as string });
  expect(agent.begun[0]!.left()).toBe(true);
  expect(agent.begun[0]!.stdout.destroyed).toBe(true);
});

test('gives up a guest that says a byte now and then, whatever it says', async () => {
  const agent = scriptedAgent((guest) => {
    const bytes = whole().repeat(100).split('');
    const timer = setInterval(() => {
      if (guest.stdout.destroyed) clearInterval(timer);
      else guest.stdout.write(bytes.shift()!);
    }, 5);
  });
  let over = false;
  const answer = askStat(agent, testVm, { signal, limitMs: 300, onBegun: (ended) => void ended.then(() => { over = true; }) });
  await expect(answer).rejects.toMatchObject({ code: 'timeout' });
  expect(agent.begun[0]!.left()).toBe(true);
  expect(over).toBe(false);
  agent.begun[0]!.exit({ signal: 'HUP', number: 1 });
  await waitFor('the end to be told', () => over);
});

test('gives up a guest that closes its output and never ends', async () => {
  await expect(asked(scriptedAgent((guest) => guest.stdout.end(whole())), 100)).rejects.toMatchObject({ code: 'timeout' });
});

test('gives up a guest that does not even begin', async () => {
  const agent = { exec: () => new Promise<never>(() => undefined) };
  await expect(askStat(agent, testVm, { signal, limitMs: 50 })).rejects.toMatchObject({ code: 'timeout' });
});

test('leaves a program that begins after all was given up', async () => {
  const late = saying(whole());
  const begun = Promise.withResolvers<void>();
  const agent: typeof late.exec = async (...args) => {
    await begun.promise;
    return late.exec(...args);
  };
  await expect(askStat({ exec: agent }, testVm, { signal, limitMs: 50 })).rejects.toMatchObject({ code: 'timeout' });
  begun.resolve();
  await waitFor('it to be left', () => late.begun[0]?.left());
});

test('ends with the caller', async () => {
  const caller = new AbortController();
  const agent = scriptedAgent(() => caller.abort());
  await expect(askStat(agent, testVm, { signal: caller.signal, limitMs: 60_000 })).rejects.toMatchObject({ code: 'cancelled' });
  expect(agent.begun[0]!.left()).toBe(true);
  await expect(askStat(saying(whole()), testVm, { signal: caller.signal, limitMs: 60_000 })).rejects.toMatchObject({ code: 'cancelled' });
});

test('tells of a lost session', async () => {
  const agent = scriptedAgent((guest) => {
    guest.stdout.write('stat 1');
    guest.lose(new Error('lost contact with guest agent of devbox'));
  });
  await expect(asked(agent)).rejects.toThrow('lost contact');
});

test('tells why the program failed, and that an agent is too old', async () => {
  const failing = (code: number, text: string): ScriptedAgent => scriptedAgent((guest) => {
    guest.stderr.write(text);
    guest.exit({ code });
  });
  await expect(asked(failing(1, 'first\nno \x1B[31mproc\n'))).rejects.toMatchObject({ code: 'operation_failed', message: expect.stringContaining('no ?[31mproc') as string });
  await expect(asked(failing(1, 'x'.repeat(1 << 20)))).rejects.toMatchObject({ code: 'operation_failed', message: expect.stringMatching(/x{300}$/) as string });
  await expect(asked(failing(2, 'usage: agent serve'))).rejects.toMatchObject({ code: 'unsupported', hint: 'banger vm restart devbox' });
  await expect(asked(scriptedAgent((guest) => guest.exit({ signal: 'KILL', number: 9 })))).rejects.toMatchObject({ code: 'operation_failed', message: expect.stringContaining('KILL') as string });
});
