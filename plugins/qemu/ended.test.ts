import { describe, expect, test } from 'vitest';
import { judgeEnd } from './ended.ts';
import type { Remains } from './ended.ts';
import type { OomAnswer } from './oom.ts';
import type { VmmExit } from './process.ts';

const at = '2026-01-01T00:00:00Z';
const looked = ['looked at the kernel\'s log (/dev/kmsg)'];
const judge = (exit: VmmExit | undefined, more: { isDiskFull?: boolean; log?: string; oom?: OomAnswer } = {}) => judgeEnd({
  exit: exit && { reason: '', panic: false, said: '', at, ...exit }, isDiskFull: more.isDiskFull ?? false,
  console: () => Promise.resolve(more.log ?? ''), oom: () => Promise.resolve(more.oom ?? { looked }),
} satisfies Remains);

describe('a panic', () => {
  const trace = Array.from({ length: 40 }, (_, index) => `[    4.3${index}] line ${index}\r\r\n`).join('');
  test('is told by the kernel\'s reason and the last twenty lines of the console', async () => {
    const end = await judge({ code: 0, reason: 'host-qmp-quit', panic: true }, { log: `login:\r\n[    4.217] Kernel panic - not syncing: sysrq triggered crash\r\n${trace}\r\n` });
    expect(end).toMatchObject({ reason: 'guest-panic', at });
    expect(end.detail?.[0]).toBe('sysrq triggered crash');
    expect(end.detail?.slice(1)).toEqual(Array.from({ length: 20 }, (_, index) => `[    4.3${index + 20}] line ${index + 20}`));
  });

  test('after writes that failed says so, and one whose words are gone is one all the same', async () => {
    expect((await judge({ code: 0, panic: true }, { isDiskFull: true })).detail).toEqual([
      'its reason is not in the log', 'before that, writes of the guest failed: the disk of the host was full',
    ]);
  });

  // The guest writes what it likes after the words. An expression that tries every number of them at every place takes half a minute.
  test('is read at once however many carriage returns the guest sends', async () => {
    const end = await judge({ code: 0, panic: true }, { log: `Kernel panic - not syncing: x\r\r\n${'\r'.repeat(2 ** 16)}` });
    expect(end.detail).toEqual(['x', 'Kernel panic - not syncing: x']);
  }, 10_000);
});

describe('an exit', () => {
  test.each<[string, VmmExit, object]>([
    ['of a guest that powered off', { code: 0, reason: 'guest-shutdown' }, { reason: 'guest-poweroff', at }],
    ['by a signal whose sender QEMU names', { code: 0, reason: 'host-signal', said: 'qemu: terminating on signal 15 from pid 4242 (ba)sh)\n' },
      { reason: 'vmm-killed', at, detail: ['SIGTERM from pid 4242 (ba)sh)', 'qemu: terminating on signal 15 from pid 4242 (ba)sh)'] }],
    ['by a signal whose sender\'s name is not known', { code: 0, said: 'qemu: terminating on signal 2 from pid 7 (<unknown process>)' }, { reason: 'vmm-killed', detail: ['SIGINT from pid 7', expect.any(String)] }],
    ['by a signal of the terminal', { code: 0, reason: 'host-signal', said: 'qemu: terminating on signal 1' }, { reason: 'vmm-killed', detail: ['SIGHUP; QEMU does not tell who sent it', expect.any(String)] }],
    ['that was asked for on the control socket', { code: 0, reason: 'host-qmp-quit' }, { reason: 'vmm-killed', detail: ['told to quit on its control socket'] }],
    ['with a status', { code: 1, said: 'qemu: warning\nqemu: cannot set up\n' }, { reason: 'vmm-died', detail: ['QEMU ended with status 1: qemu: cannot set up', 'qemu: warning', 'qemu: cannot set up'] }],
    ['for want of space', { code: 1, said: 'qemu: write: No space left on device' }, { reason: 'disk-full' }],
    ['for a reason that we do not know', { code: 0, reason: 'subsystem-reset' }, { reason: 'vmm-died', detail: ['QEMU ended, and gave the reason subsystem-reset'] }],
  ])('%s', async (_name, exit, expected) => {
    expect(await judge(exit)).toMatchObject(expected);
  });

  test('that an earlier version\'s supervisor recorded is a poweroff when it is 0', async () => {
    expect(await judgeEnd({ exit: { code: 0, at }, isDiskFull: false, console: () => Promise.resolve(''), oom: () => Promise.resolve({ looked }) })).toEqual({ reason: 'guest-poweroff', at });
  });

  test('of a guest that powered off on a full disk is a poweroff; a VMM that ended of it is not', async () => {
    expect(await judge({ code: 0, reason: 'guest-shutdown' }, { isDiskFull: true })).toMatchObject({ reason: 'guest-poweroff' });
    expect(await judge({ code: 1 }, { isDiskFull: true })).toMatchObject({ reason: 'disk-full' });
    expect(await judge({ signal: 7 }, { isDiskFull: true })).toMatchObject({ reason: 'disk-full' });
  });
});

describe('a death by signal', () => {
  test('KILL is the out-of-memory killer\'s where the kernel says so', async () => {
    const evidence = 'Out of memory: Killed process 42 (qemu-system-x86) total-vm:1kB';
    expect(await judge({ signal: 9 }, { oom: { evidence, looked } })).toEqual({ reason: 'out-of-memory', at, detail: [evidence, ...looked] });
    expect(await judge(undefined, { oom: { evidence, looked } })).toMatchObject({ reason: 'out-of-memory' });
  });

  test('KILL is somebody\'s otherwise: who is not known, and what was looked at is', async () => {
    expect(await judge({ signal: 9 })).toEqual({ reason: 'vmm-killed', at, detail: ['SIGKILL; the kernel does not tell who sent it', 'no word of the out-of-memory killer', ...looked] });
  });

  test.each([[11, 'vmm-died', /^a fault of QEMU itself \(SIGSEGV\)$/], [31, 'vmm-died', /SIGSYS: its sandbox refused/], [3, 'vmm-killed', /^SIGQUIT; the kernel does not tell/], [7, 'vmm-died', /SIGBUS/]] as const)(
    'by %d is %s', async (signal, reason, words) => {
      expect(await judge({ signal })).toMatchObject({ reason, detail: [expect.stringMatching(words)] });
    });
});

test('without a record nothing is made up', async () => {
  expect(await judge(undefined)).toEqual({ reason: 'vmm-died', detail: ['how is not known: its supervisor ended, too', ...looked] });
});
