// Copies that go past us: a program of the test is this host's end, and the test is the daemon at the other side of the guest's end.
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { frameKind, type VmCopyDirect } from '../../core/api.ts';
import type { BangerError } from '../../core/errors.ts';
import { guardProcess } from '../../plugins/copy/guard.ts';
import { StreamClient } from '../../test/support/stream-client.ts';
import { waitFor } from '../../test/support/wait.ts';
import type { InterruptSignal } from '../interrupts.ts';
import { DirectEnd } from './direct-end.ts';
import type { EndResult } from './end.ts';
import { GuestEnd } from './guest-end.ts';
import type { Report } from './host-program.ts';
import type { CopyProgress } from './progress.ts';
import { runDirect } from './run-direct.ts';

let dir: string;
beforeAll(() => { dir = mkdtempSync(join(tmpdir(), 'banger-direct-')); });
afterAll(() => { rmSync(dir, { recursive: true, force: true }); });

const way: VmCopyDirect = { socket: '/run/x.sock', hello: '0'.repeat(32), stallLimitMs: 240_000, floorBytesPerSecond: 1024 };
const said: string[] = [];
const reports: Report[] = [];
beforeEach(() => {
  said.length = 0;
  reports.length = 0;
});
const progress: CopyProgress = { moved: () => undefined, at: () => undefined, end: () => undefined, say: (line) => { said.push(line); } };

interface Run {
  readonly daemon: StreamClient;
  /** Exit code of the command, or its error. */
  readonly done: Promise<number | BangerError>;
  readonly hostEnded: Promise<EndResult>;
  interrupt(signal: InterruptSignal): void;
}

/** `script`: what the host's end does; its stdin is the control pipe, its fd 3 takes the reports. */
function begin(direction: 'in' | 'out', script: string): Run {
  const program = join(dir, `p${Math.random()}`);
  writeFileSync(program, `#!/bin/sh\n${script}\n`);
  chmodSync(program, 0o755);
  const daemon = new StreamClient();
  const guest = new GuestEnd(daemon.stream, 'one', (line) => said.push(`one: ${line}`));
  guest.listen();
  const words = direction === 'in' ? ['send', '--', 'x'] : ['receive', '--name', 'x', '--', 'out'];
  const host = new DirectEnd(words, {
    say: (line) => said.push(`host: ${line}`), onReport: (report) => reports.push(report), program, way, guest: { ref: 'one', direction, path: '/srv' },
  });
  let handler: (signal: InterruptSignal) => void = () => undefined;
  const interrupts = { handle: (next: typeof handler) => { handler = next; } };
  const done = runDirect({ host, guest, direction, progress, interrupts, target: direction === 'in' ? 'one:/srv' : 'out' });
  return { daemon, hostEnded: host.ended, done: done.catch((error: unknown) => error as BangerError), interrupt: (signal) => handler(signal) };
}

const exitWith = (daemon: StreamClient, exit: object): Promise<void> => daemon.send(frameKind.exit, JSON.stringify(exit));
const stderr = (daemon: StreamClient, line: string): Promise<void> => daemon.send(frameKind.stderr, `copy: ${line}\n`);
/** Frames to the daemon, by name. */
const heard = (daemon: StreamClient): string[] => daemon.frames.map(({ kind, payload }) => `${kind === frameKind.stdin ? 'stdin' : kind === frameKind.signal ? 'signal' : kind} ${payload.toString()}`);
const through = (daemon: StreamClient): Promise<unknown> => waitFor('the word that the host is through', () => heard(daemon).includes('stdin '));
const reported = (): Promise<unknown> => waitFor('a report of the host', () => reports.length > 0);
const control = 'cat >/dev/null';

describe('a copy into a guest', () => {
  test('is over when the guest is, which hears once that all is sent', async () => {
    const { daemon, done } = begin('in', `echo "$@" >${dir}/words; echo "7 1 a" >&3; echo "900 2 b/c" >&3; echo sent >&3; ${control}; echo "900 2 b/c" >&3`);
    await through(daemon);
    expect(reports).toContainEqual({ kind: 'progress', bytes: 900, name: 'b/c' });
    await exitWith(daemon, { code: 0 });
    expect([await done, heard(daemon), said]).toEqual([0, ['stdin '], []]);
    expect(readFileSync(join(dir, 'words'), 'utf8')).toBe(`send --progress-fd 3 --socket ${way.socket} --hello ${way.hello} --stall 240000 --floor 1024 -- x\n`);
  });

  test('tells the guest once, also where the host ends before it', async () => {
    const { daemon, done, hostEnded } = begin('in', 'echo sent >&3');
    expect(await hostEnded).toEqual({ code: 0 });
    await through(daemon);
    await exitWith(daemon, { code: 0 });
    expect([await done, heard(daemon)]).toEqual([0, ['stdin ']]);
  });

  test('is partial when either end says so', async () => {
    const { daemon, done } = begin('in', `echo "copy: a: Permission denied" >&2; echo sent >&3; ${control}; exit 1`);
    await through(daemon);
    await exitWith(daemon, { code: 0 });
    expect([await done, said]).toEqual([1, ['host: a: Permission denied', 'banger: not all of it was copied']]);
  });

  test('fails with the reason of a guest that refuses, and ends the host by the control pipe', async () => {
    const { daemon, done, hostEnded } = begin('in', `${control}; echo "copy: the other end is gone" >&2; exit 3`);
    await stderr(daemon, 'a/b: No space left on device: 12 entries were in place already');
    await exitWith(daemon, { code: 3 });
    expect(await done).toMatchObject({ code: 'operation_failed', message: 'one: a/b: No space left on device; 12 entries were in place already (one:/srv)' });
    expect(await hostEnded).toEqual({ code: 3 });
  });

  test('fails with the reason of a host that refuses; a guest that still waits for it is asked to end', async () => {
    const { daemon, done } = begin('in', 'echo "copy: cannot read x: No such file or directory" >&2; exit 3');
    await waitFor('the signal', () => heard(daemon).includes('signal TERM'));
    await stderr(daemon, 'the stream ended early: nothing was put in place');
    await exitWith(daemon, { code: 3 });
    expect(await done).toMatchObject({
      code: 'operation_failed', message: 'host: cannot read x: No such file or directory; nothing was put in place (one:/srv)', hint: 'the path is one of this host',
    });
    expect(heard(daemon)).toEqual(['stdin ', 'signal TERM']);
  });

  test('says that nothing was put in place of a guest whose program ended before it could say so', async () => {
    const { daemon, done } = begin('in', 'echo "copy: cannot read x: No such file or directory" >&2; exit 3');
    await waitFor('the signal', () => heard(daemon).includes('signal TERM'));
    await exitWith(daemon, { signal: 'TERM', number: 15 });
    expect(await done).toMatchObject({ message: 'host: cannot read x: No such file or directory; nothing was put in place (one:/srv)' });
  });

  test('does not say so of a guest whose program was killed, or had something to say', async () => {
    for (const [words, exit] of [['', { signal: 'KILL', number: 9 }], ['x: Permission denied', { signal: 'TERM', number: 15 }]] as const) {
      const { daemon, done } = begin('in', 'echo "copy: cannot read x: No such file or directory" >&2; exit 3');
      await waitFor('the signal', () => heard(daemon).includes('signal TERM'));
      if (words !== '') await stderr(daemon, words);
      await exitWith(daemon, exit);
      expect(await done).toMatchObject({ message: 'host: cannot read x: No such file or directory' });
    }
  });

  test('fails when the guest claims success before all is sent', async () => {
    const { daemon, done } = begin('in', `${control}; echo "copy: the other end is gone" >&2; exit 3`);
    await exitWith(daemon, { code: 0 });
    expect(await done).toMatchObject({ code: 'operation_failed', message: 'host: the other end is gone' });
  });

  test('is not all right because this host sent all', async () => {
    const { daemon, done } = begin('in', `echo sent >&3; ${control}`);
    await through(daemon);
    await stderr(daemon, 'the stream ended early: nothing was put in place');
    await exitWith(daemon, { code: 3 });
    expect(await done).toMatchObject({ message: 'one: the stream ended early; nothing was put in place (one:/srv)' });
    expect(heard(daemon)).toEqual(['stdin ']);
  });
});

describe('a copy out of a guest', () => {
  test('is over when the guest has heard that all is here', async () => {
    const { daemon, done } = begin('out', 'echo "10 1 x" >&3');
    await through(daemon);
    await exitWith(daemon, { code: 0 });
    expect([await done, heard(daemon), said]).toEqual([0, ['stdin '], []]);
  });

  test('is partial when the guest says so, however it ended here', async () => {
    const { daemon, done } = begin('out', 'echo "copy: note: a socket" >&2');
    await through(daemon);
    await stderr(daemon, 'a: Permission denied');
    await exitWith(daemon, { code: 1 });
    expect([await done, said]).toEqual([1, ['one: a: Permission denied', 'host: note: a socket', 'banger: not all of it was copied']]);
  });

  const ends = `${control}; echo "copy: the stream ended early: nothing was put in place" >&2; exit 3`;
  test('fails with the reason of a guest that refuses', async () => {
    const { daemon, done } = begin('out', ends);
    await stderr(daemon, 'cannot read /srv: No such file or directory');
    await exitWith(daemon, { code: 3 });
    expect(await done).toMatchObject({ code: 'operation_failed', message: 'one: cannot read /srv: No such file or directory; nothing was put in place (out)' });
  });

  test('fails when the guest claims success without the end of the stream', async () => {
    const { daemon, done } = begin('out', ends);
    await exitWith(daemon, { code: 0 });
    expect(await done).toMatchObject({ code: 'operation_failed', message: 'host: the stream ended early; nothing was put in place (out)' });
  });

  test('fails with the reason of a host that refuses, and ends the guest', async () => {
    const { daemon, done } = begin('out', 'echo "copy: x: No space left on device: nothing was put in place" >&2; exit 3');
    await waitFor('the signal', () => heard(daemon).includes('signal TERM'));
    await exitWith(daemon, { signal: 'TERM', number: 15 });
    expect(await done).toMatchObject({ message: 'host: x: No space left on device; nothing was put in place (out)', hint: 'make room on the file system of the destination' });
  });
});

/** What the daemon says of a guest that stalls in a copy through its hands. */
async function daemonsWords(direction: 'in' | 'out'): Promise<{ readonly code: string; readonly message: string; readonly hint?: string }> {
  const guarded = guardProcess({
    stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough(), exit: new Promise(() => undefined),
    resize: () => undefined, signal: () => undefined, hangup: () => undefined,
  }, { subject: 'one', path: '/srv', direction, limitMs: 100, hangupMs: 1000, signal: new AbortController().signal });
  if (direction === 'in') guarded.stdin.end();
  else guarded.stdout.resume();
  const error = await guarded.exit.then(() => { throw new Error('it did not stall'); }, (reason: unknown) => reason as BangerError);
  return { code: error.code, message: error.message.replace(/after .* s$/, 'after 240 s'), ...(error.hint === undefined ? {} : { hint: error.hint }) };
}

describe('a guest that stalls', () => {
  test.each(['in', 'out'] as const)('in a copy %s is given up, in the words of the daemon', async (direction) => {
    const { daemon, done } = begin(direction, 'echo "stalled 0" >&3; exit 4');
    let closed = false;
    daemon.stream.onClose(() => { closed = true; });
    expect(await done).toMatchObject(await daemonsWords(direction));
    // That makes the daemon hang the guest up, whatever the guest makes of signals.
    expect([closed, heard(daemon)]).toEqual([true, []]);
  });

  test('says how far it came, and what became of the destination', async () => {
    const { done } = begin('out', 'echo "stalled 11" >&3; echo "copy: the other end stalled: nothing was put in place" >&2; exit 4');
    expect(await done).toMatchObject({
      code: 'timeout', message: 'Gave up waiting for the guest of one to send more of /srv after 240 s (11 bytes moved, the least is 1024 a second); nothing was put in place (out)',
    });
  });
});

const ignoresNothing = `trap 'stopped=1' TERM; echo "1 1 x" >&3; ${control}; [ -n "$stopped" ] || exit 0; echo "copy: stopped by a signal: nothing was put in place" >&2; exit 3`;

describe('an end from outside', () => {
  test.each([['in', ''], ['out', '; nothing was put in place (out)']] as const)('by the loss of the daemon stops the host (%s)', async (direction, outcome) => {
    const { daemon, done, hostEnded } = begin(direction, ignoresNothing);
    await reported();
    daemon.close();
    expect(await done).toMatchObject({ code: 'daemon_unreachable', message: `The daemon went away during the copy${outcome}` });
    expect(await hostEnded).toEqual({ code: 3 });
  });

  test('of the VM is told by the daemon, though the host may notice it first', async () => {
    const { daemon, done } = begin('out', 'echo "copy: the stream ended early: nothing was put in place" >&2; exit 3');
    await through(daemon);
    await exitWith(daemon, { error: { code: 'operation_failed', opId: 'op-1', message: 'The guest agent of one is gone' } });
    expect(await done).toMatchObject({ message: 'The guest agent of one is gone; nothing was put in place (out)', detail: { opId: 'op-1' } });
  });

  test('by an interrupt asks both ends to stop', async () => {
    const { daemon, done, interrupt } = begin('in', ignoresNothing);
    await reported();
    interrupt('INT');
    await waitFor('the signal', () => heard(daemon).includes('signal TERM'));
    await stderr(daemon, 'the stream ended early: nothing was put in place');
    await exitWith(daemon, { code: 3 });
    expect([await done, said]).toEqual([130, ['one: the stream ended early: nothing was put in place']]);
  });

  test.each([['INT', 'INT', 130], ['TERM', 'INT', 130], ['HUP', undefined, 129]] as const)('by %s and then %s waits for no end', async (first, second, code) => {
    const { daemon, done, hostEnded, interrupt } = begin('out', `trap '' TERM; echo "1 1 x" >&3; ${control}; exit 3`);
    await reported();
    interrupt(first);
    if (second !== undefined) interrupt(second);
    expect(await done).toBe(code);
    await exitWith(daemon, { code: 3 });
    expect(await hostEnded).toEqual({ code: 3 });
  });

  test('that was there before, as a program that is missing, ends the guest too', async () => {
    const daemon = new StreamClient();
    const guest = new GuestEnd(daemon.stream, 'one', () => undefined);
    guest.listen();
    const host = new DirectEnd(['send', '--', 'x'], {
      say: () => undefined, onReport: () => undefined, program: join(dir, 'none'), way, guest: { ref: 'one', direction: 'in', path: '/srv' },
    });
    const done = runDirect({ host, guest, direction: 'in', progress, interrupts: { handle: () => undefined }, target: 'one:/srv' });
    await waitFor('the signal', () => heard(daemon).includes('signal TERM'));
    await exitWith(daemon, { code: 3 });
    await expect(done).rejects.toMatchObject({ code: 'missing_requirement' });
  });
});
