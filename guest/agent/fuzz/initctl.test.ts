// The real FIFO and its reader, built with sanitizers, fed as sysvinit's and systemd's tools feed it.
import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';

const root = new URL('../../..', import.meta.url).pathname;
let dir: string;
let fifo: string;
let reader: ChildProcess;
let lines: AsyncIterator<string>;
let ended: Promise<number | null>;

beforeAll(async () => {
  await promisify(execFile)('sh', [join(root, 'scripts/build-native.sh'), '--asan'], { cwd: root });
  dir = await mkdtemp(join(tmpdir(), 'banger-initctl-'));
  fifo = join(dir, 'initctl');
  // What lies in the way is replaced.
  await writeFile(fifo, 'old');
  reader = spawn(join(root, 'dist/native/agent-fuzz'), ['initctl', fifo], { stdio: ['pipe', 'pipe', 'inherit'] });
  ended = new Promise((resolve) => reader.once('exit', resolve));
  lines = createInterface({ input: reader.stdout! })[Symbol.asyncIterator]();
  expect(await nextLine()).toBe('listening');
});
afterAll(async () => {
  reader.stdin?.end();
  // Sanitizers speak through the exit code.
  expect(await ended).toBe(0);
  await rm(dir, { recursive: true, force: true });
});

const nextLine = async (): Promise<string> => (await lines.next()).value as string;

/** struct init_request of sysvinit's initreq.h: magic, command, runlevel, sleep time, then names and padding. */
function request(runlevel: string, { command = 1, magic = 0x03091969 } = {}): Buffer {
  const bytes = Buffer.alloc(384);
  bytes.writeInt32LE(magic, 0);
  bytes.writeInt32LE(command, 4);
  bytes.writeInt32LE(runlevel.charCodeAt(0), 8);
  return bytes;
}

/** One write, and what the reader made of it. */
async function send(...parts: readonly Buffer[]): Promise<string> {
  const fd = openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK);
  const bytes = Buffer.concat(parts);
  expect(writeSync(fd, bytes)).toBe(bytes.length);
  closeSync(fd);
  return nextLine();
}

it('is a FIFO only its owner may use', async () => {
  const { mode } = await stat(fifo);
  expect(mode & constants.S_IFMT).toBe(constants.S_IFIFO);
  expect(mode & 0o777).toBe(0o600);
});

it('takes runlevel 0 for power off and 6 for reboot', async () => {
  expect(await send(request('0'))).toBe('power off');
  expect(await send(request('6'))).toBe('reboot');
});

it('ignores what else can be asked of init', async () => {
  for (const runlevel of ['1', '5', 'S', 'q']) expect(await send(request(runlevel))).toBe('nothing');
  expect(await send(request('6', { command: 3 }))).toBe('nothing');
  expect(await send(request('6', { magic: 0x19690309 }))).toBe('nothing');
});

it('gets over garbage and cut requests', async () => {
  expect(await send(Buffer.from('x'))).toBe('nothing');
  expect(await send(request('6').subarray(0, 383))).toBe('nothing');
  expect(await send(Buffer.alloc(4096, 0x69))).toBe('nothing');
  expect(await send(request('0'))).toBe('power off');
  expect(await send(Buffer.from('garbage'), request('6'))).toBe('reboot');
  // Across the reader's buffer of 4096 bytes; Linux takes a write of this size at once when the pipe has room.
  expect(await send(Buffer.alloc(4000, 1), request('5'), request('0'))).toBe('power off');
});

it('does the first of several', async () => {
  expect(await send(request('2'), request('6'), request('0'))).toBe('reboot');
});
