// The supervisor's console relay and its logs by boot, with real processes in place of a VMM.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { findShim } from '../../test/support/shim.ts';

const found = findShim();
const reason = 'reason' in found ? found.reason : '';
const shim = 'nativeDir' in found ? join(found.nativeDir, 'shim') : '';
const isRoot = process.getuid?.() === 0;
const limit = { timeout: 20_000 };
const reset = '{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "RESET", "data": {"guest": true, "reason": "guest-reset"}}';

let dir: string;
const children: ChildProcess[] = [];
const sockets: Socket[] = [];
beforeEach(({ skip }) => {
  skip(reason !== '', reason);
  dir = mkdtempSync(join(tmpdir(), 'banger-console-'));
  chmodSync(dir, 0o711);
});
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
});
const file = (name: string): string => join(dir, name);
const read = (name: string): string => existsSync(file(name)) ? readFileSync(file(name), 'latin1') : '';

/** A VMM that is a shell script: its standard streams are the console, descriptor 3 is where QEMU speaks of events. */
async function startVmm(script: string, logMax = 1 << 20): Promise<{ readonly exit: Promise<number | null>; readonly pid: number }> {
  const child = spawn(shim, [
    'vmm', '--netns', 'try', ...(isRoot ? ['--uid', '2000000123'] : []), '--log-dir', file('logs'), '--log-max', String(logMax), '--log-keep', '3',
    '--exit-file', file('exit'), '--pid-file', file('pid'), '--console', file('console'), '--events', 'qmp', '--', '/bin/sh', '-c', script,
  ], { stdio: ['ignore', 'pipe', 'ignore'] });
  children.push(child);
  const exit = new Promise<number | null>((resolve) => { child.on('exit', resolve); });
  const line = await new Promise<string>((resolve) => {
    let text = '';
    child.stdout?.on('data', (chunk) => { text += String(chunk); });
    child.stdout?.on('end', () => resolve(text));
  });
  return { exit, pid: Number(/^pid (\d+)/.exec(line)?.[1] ?? 0) };
}

interface Client { readonly socket: Socket; text(): string; readonly closed: Promise<void> }
function openConsole(): Client {
  const socket = connect({ path: file('console') });
  sockets.push(socket);
  let text = '';
  socket.on('data', (chunk: Buffer) => { text += chunk.toString('latin1'); });
  const closed = new Promise<void>((resolve) => {
    socket.on('close', () => resolve());
    socket.on('error', () => undefined);
  });
  return { socket, text: () => text, closed };
}
const seen = (client: Client, pattern: RegExp): Promise<void> => expect.poll(() => client.text(), limit).toMatch(pattern);

describe('console', () => {
  test('is a socket for its owner only, and both ways', async () => {
    const { exit } = await startVmm('read line; echo "got $line"; read line; echo "got $line"; exit 3');
    expect(statSync(file('console')).mode & 0o777).toBe(0o600);
    const client = openConsole();
    client.socket.write('one\n');
    await seen(client, /^ok\ngot one\n$/);
    client.socket.write('two\n');
    expect(await exit).toBe(3);
    await client.closed;
    expect(client.text()).toBe('ok\ngot one\ngot two\n');
    expect(read('logs/1.log')).toBe('got one\ngot two\n');
  });

  test('the input is a pipe with nothing to read while nobody is connected', async () => {
    const { exit } = await startVmm('echo waiting; read line && echo "got $line"');
    await expect.poll(() => read('logs/1.log'), limit).toBe('waiting\n');
    openConsole().socket.write('x\n');
    expect(await exit).toBe(0);
    expect(read('logs/1.log')).toBe('waiting\ngot x\n');
  });

  test('begins with the last 4 KiB of the output', async () => {
    await startVmm('i=0; while [ $i -lt 1000 ]; do echo "line $i"; i=$((i+1)); done; exec cat');
    await expect.poll(() => read('logs/1.log'), limit).toMatch(/line 999\n$/);
    const client = openConsole();
    await seen(client, /line 999\n$/);
    expect(client.text()).toBe(`ok\n${read('logs/1.log').slice(-4096)}`);
  });

  test('a second client is told that it is busy; one that has left makes room', async () => {
    await startVmm('exec cat');
    const first = openConsole();
    first.socket.write('mine\n');
    await seen(first, /mine/);
    const second = openConsole();
    await second.closed;
    expect(second.text()).toBe('busy\n');
    first.socket.destroy();
    await expect.poll(async () => {
      const next = openConsole();
      await Promise.race([next.closed, new Promise((resolve) => { next.socket.once('data', resolve); })]);
      return next.text();
    }, limit).toMatch(/^ok\n/);
  });

  test('a client that has said all still hears the rest', async () => {
    await startVmm('read line; sleep 0.05; echo "late $line"; exec cat');
    const client = openConsole();
    client.socket.end('words\n');
    await seen(client, /^ok\nlate words\n$/);
  });

  test('a client that does not read costs no byte of the log, and is told how much it missed', async () => {
    const { exit } = await startVmm('read go; i=0; while [ $i -lt 40000 ]; do echo "line $i of the flood"; i=$((i+1)); done; read go; echo end', 4 << 20);
    const client = openConsole();
    client.socket.write('go\n');
    await seen(client, /line 0 /);
    client.socket.pause();
    await expect.poll(() => read('logs/1.log'), limit).toMatch(/line 39999 of the flood\n$/);
    expect(read('logs/1.log').match(/\n/g)).toHaveLength(40_000);
    client.socket.resume();
    await seen(client, /\[banger: \d+ bytes left out\]/);
    client.socket.write('go\n');
    expect(await exit).toBe(0);
    await client.closed;
    const heard = client.text().replace(/^ok\n/, '');
    const notice = /\r\n\[banger: (\d+) bytes left out\]\r\n/g;
    const missed = [...heard.matchAll(notice)].reduce((sum, [, bytes]) => sum + Number(bytes), 0);
    expect(heard.replaceAll(notice, '')).toHaveLength(read('logs/1.log').length - missed);
    expect(heard).toMatch(/end\n$/);
  });

  test('a flood of input that the guest does not read is held back, and the log goes on', async () => {
    await startVmm('echo begun; while [ ! -e stop ]; do sleep 0.05; done; echo "log goes on"; exec sleep 300'.replace('stop', file('stop')));
    const client = openConsole();
    await seen(client, /begun/);
    const before = residentKiB(children[0]!);
    for (let i = 0; i < 64; i += 1) client.socket.write(Buffer.alloc(65_536, 'x'));
    // What lies here is on our side of the socket: the supervisor has stopped reading.
    await expect.poll(() => client.socket.bytesWritten, limit).toBeGreaterThan(0);
    writeFileSync(file('stop'), '');
    await expect.poll(() => read('logs/1.log'), limit).toBe('begun\nlog goes on\n');
    expect(client.socket.writableLength).toBeGreaterThan(3 << 20);
    expect(residentKiB(children[0]!) - before).toBeLessThan(256);
    // What was typed for a client that is gone does not reach the next one's guest beyond what the pipe held.
    client.socket.destroy();
    await expect.poll(async () => {
      const next = openConsole();
      await Promise.race([next.closed, new Promise((resolve) => { next.socket.once('data', resolve); })]);
      return next.text();
    }, limit).toMatch(/^ok\n/);
  });

  test('a VMM that closes its input is heard all the same', async () => {
    const { exit } = await startVmm('exec 0<&-; echo deaf; while [ ! -e go ]; do sleep 0.05; done; echo spoken'.replace('go', file('go')));
    const client = openConsole();
    await seen(client, /deaf/);
    client.socket.write('hello?\n');
    client.socket.write('hello?\n');
    writeFileSync(file('go'), '');
    expect(await exit).toBe(0);
    await client.closed;
    expect(client.text()).toBe('ok\ndeaf\nspoken\n');
  });

  test('the end of the VMM is the end of the client', async () => {
    const { pid } = await startVmm('echo up; exec sleep 300');
    const client = openConsole();
    await seen(client, /up/);
    process.kill(pid, 'SIGKILL');
    await client.closed;
  });
});

describe('logs by boot', () => {
  test('a reset begins the next log, after all that was written before it', async () => {
    const { exit } = await startVmm(`echo first; echo '${reset}' >&3; read go; echo second; exit`);
    await expect.poll(() => existsSync(file('logs/2.log')), limit).toBe(true);
    openConsole().socket.write('\n');
    expect(await exit).toBe(0);
    expect(read('logs/1.log')).toBe('first\n');
    expect(read('logs/2.log')).toBe('second\n');
  });

  test('QEMU is asked for events first', async () => {
    await startVmm('read line <&3; echo "asked $line"; exec cat');
    await expect.poll(() => read('logs/1.log'), limit).toBe('asked {"execute":"qmp_capabilities"}\n');
  });

  test('a reset in pieces counts, other events and words that look like one do not', async () => {
    const half = reset.indexOf('"RESET"') + 3;
    const noise = '{"event": "POWERDOWN"}{"data": {"text": "\\"event\\": \\"RESET\\""}, "event": "RESE"}';
    await startVmm(`echo a; echo '${noise}' >&3; read go; echo b; printf '%s' '${reset.slice(0, half)}' >&3; read go; printf '%s\\r\\n' '${reset.slice(half)}' >&3; exec cat`);
    const client = openConsole();
    client.socket.write('\n');
    await seen(client, /b\n/);
    expect(readdirSync(file('logs'))).toEqual(['1.log']);
    client.socket.write('\n');
    await expect.poll(() => readdirSync(file('logs')).toSorted(), limit).toEqual(['1.log', '2.log']);
    expect(read('logs/1.log')).toBe('a\nb\n');
  });

  test('a machine that resets again and again in silence makes one log, and the oldest boots make room', async () => {
    const boots = [1, 2, 3, 4, 5].map((n) => `echo boot ${n}; echo '${reset}${reset}' >&3; echo '${reset}' >&3; read go`).join('; ');
    const { exit } = await startVmm(`${boots}; echo last`);
    const client = openConsole();
    for (const n of [2, 3, 4, 5, 6]) {
      await expect.poll(() => existsSync(file(`logs/${n}.log`)), limit).toBe(true);
      client.socket.write('\n');
    }
    expect(await exit).toBe(0);
    expect(readdirSync(file('logs')).toSorted()).toEqual(['4.log', '5.log', '6.log']);
    expect(read('logs/6.log')).toBe('last\n');
  });
});

function residentKiB(child: ChildProcess): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]);
}
