// What the supervisor notes down about the end of its VMM, with shell scripts in place of one.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { findShim } from '../../test/support/shim.ts';

const found = findShim();
const reason = 'reason' in found ? found.reason : '';
const shim = 'nativeDir' in found ? join(found.nativeDir, 'shim') : '';
const isRoot = process.getuid?.() === 0;
const limit = { timeout: 20_000 };
const panicLine = '[    4.217] Kernel panic - not syncing: sysrq triggered crash';
const event = (name: string, why: string): string => `echo '{"timestamp": {"seconds": 1}, "event": "${name}", "data": {"guest": true, "reason": "${why}"}}' >&3`;
const reset = event('RESET', 'guest-reset');

let dir: string;
let child: ChildProcess | undefined;
beforeEach(({ skip }) => {
  skip(reason !== '', reason);
  dir = mkdtempSync(join(tmpdir(), 'banger-ended-'));
  chmodSync(dir, 0o711);
});
afterEach(() => {
  child?.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
});

/** The record of a script's end. Descriptor 3 is QEMU's control channel; its first line is the negotiation. */
async function endOf(script: string, meanwhile: () => Promise<void> = () => Promise.resolve()): Promise<unknown> {
  child = spawn(shim, [
    'vmm', '--netns', 'try', ...(isRoot ? ['--uid', '2000000123'] : []), '--log-dir', join(dir, 'logs'), '--exit-file', join(dir, 'exit'),
    '--pid-file', join(dir, 'pid'), '--console', join(dir, 'console'), '--events', 'qmp', '--', '/bin/sh', '-c', `read negotiation <&3; ${script}`,
  ], { stdio: 'ignore' });
  const ended = new Promise((resolve) => { child?.on('exit', resolve); });
  await meanwhile();
  await ended;
  return JSON.parse(readFileSync(join(dir, 'exit'), 'utf8'));
}
const logs = (): string[] => readdirSync(join(dir, 'logs')).toSorted();

describe('the end of a VMM', () => {
  test('comes after a reset by a kernel that panicked: QEMU is told to quit, and the log ends with the panic', async () => {
    const end = await endOf(`echo '${panicLine}'; echo trace; ${reset}; read command <&3; echo "told $command" >&2; exit 0`);
    expect(end).toMatchObject({ code: 0, panic: true, said: 'told {"execute":"quit"}\n' });
    expect(logs()).toEqual(['1.log']);
    expect(readFileSync(join(dir, 'logs/1.log'), 'utf8')).toMatch(/not syncing: sysrq triggered crash\ntrace\n/);
  });

  test('does not come after a reset without a panic, nor with one of an earlier boot, nor with one long before', async () => {
    const much = 'i=0; while [ $i -lt 1024 ]; do echo "0123456789012345678901234567890"; i=$((i+1)); done';
    const script = `echo one; ${reset}; read go; echo '${panicLine}'; ${much}; ${reset}; read go; echo two; ${reset}; read go; exit 3`;
    const end = await endOf(script, async () => {
      await expect.poll(() => existsSync(join(dir, 'console')), limit).toBe(true);
      const socket = connect({ path: join(dir, 'console') }).on('error', () => undefined).resume();
      for (const boot of [2, 3, 4]) {
        await expect.poll(() => existsSync(join(dir, 'logs', `${boot}.log`)), limit).toBe(true);
        socket.write('\n');
      }
    });
    expect(end).toMatchObject({ code: 3, panic: false });
    expect(logs()).toEqual(['1.log', '2.log', '3.log', '4.log']);
  });

  test('is recorded with QEMU\'s reason for it, the first it gives, also when it is gone right after', async () => {
    expect(await endOf(`${event('SHUTDOWN', 'guest-shutdown')}; ${event('SHUTDOWN', 'host-qmp-quit')}; exit 0`)).toMatchObject({ code: 0, reason: 'guest-shutdown' });
  });

  test('takes no reason from a text within an event, and none that is not a word', async () => {
    const quoted = 'echo \'{"event": "IO", "data": {"text": "\\"event\\": \\"SHUTDOWN\\", \\"reason\\": \\"guest-panic\\""}}\' >&3';
    expect(await endOf(`${quoted}; ${event('SHUTDOWN', 'two words')}; ${event('SHUTDOWN', 'x'.repeat(40))}; exit 0`)).toMatchObject({ reason: '' });
  });

  test('is recorded with the last of what the VMM itself said, as text, and without what its guest wrote', async () => {
    const end = await endOf('i=0; while [ $i -lt 200 ]; do echo "guest words $i"; echo "word $i" >&2; i=$((i+1)); done; printf \'say "\\033[1m\\\\\\377"\\n\' >&2; kill -9 $$') as { said: string };
    expect(end).toMatchObject({ signal: 9 });
    expect(end.said).toMatch(/word 199\nsay "\?\[1m\\\?"\n$/);
    expect(end.said).not.toContain('guest');
    expect(end.said).toHaveLength(512);
  });
});
