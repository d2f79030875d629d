// Files into a guest with the real program at both ends. This process plays QEMU between them, and the guest's agent.
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join, resolve } from 'node:path';
import { Writable } from 'node:stream';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { createActivity } from '../../core/daemon/activity.ts';
import { createExec } from '../../core/exec.ts';
import { nullLog } from '../../core/log.ts';
import { cancelled, operationFailed } from '../../core/plugin-api.ts';
import type { GuestAgent, GuestExecRequest, GuestExit, GuestProcess, Logger, Vm } from '../../core/plugin-api.ts';
import { temporary } from '../../native/copy/testing.ts';
import { waitFor } from '../../test/support/wait.ts';
import type { SendFiles, SendFilesContext, SentFiles } from './capability.ts';
import { createDirectCopies } from './direct.ts';
import { createGuestFiles } from './guest-files.ts';

const root = resolve(import.meta.dirname, '../..');
const program = join(root, 'dist/native/copy');
const vm = { id: 'aaaaaaaaaaaa', name: 'devbox' } as Vm;
const area = temporary('guest-files');
beforeAll(async () => { await promisify(execFile)('sh', [join(root, 'scripts/build-native.sh')], { cwd: root }); }, 120_000);
afterAll(() => area.dispose());

/** The guest's end as the agent would run it. */
class ChildEnd implements GuestProcess {
  readonly stdin = new Writable({ write: (_chunk, _encoding, done) => { done(); } });
  readonly child: ChildProcess;
  readonly exit: Promise<GuestExit>;
  hangups = 0;
  constructor(child: ChildProcess) {
    this.child = child;
    this.exit = once(child, 'close').then(([code, signal]: (number | string | null)[]) => (
      typeof code === 'number' ? { code } : { signal: String(signal).slice(3), number: 1 }));
  }
  get stdout() { return this.child.stdout!; }
  get stderr() { return this.child.stderr!; }
  resize(): void {}
  signal(name: string): void { this.child.kill(`SIG${name}` as NodeJS.Signals); }
  hangup(): void {
    this.hangups += 1;
    this.child.kill('SIGHUP');
  }
}

/** A VM with a port: who connects to its socket is joined with the guest's end of then. */
class Guest implements Pick<GuestAgent, 'exec' | 'bulkSocket'> {
  readonly requests: GuestExecRequest[] = [];
  readonly ends: ChildEnd[] = [];
  /** What the agent answers in place of the next processes. */
  readonly refusals: Error[] = [];
  /** Stands still: nothing reaches the guest. */
  isFrozen = false;
  readonly #socket = join(area.room(), 'bulk');
  readonly #server: Server;
  readonly #ports: Socket[] = [];
  #port: Socket | undefined;

  constructor() {
    this.#server = createServer({ allowHalfOpen: false }, (host) => {
      host.on('error', () => undefined); // it may leave at any time
      this.#ports.push(host);
      if (this.isFrozen) return;
      this.#port!.pipe(host, { end: false });
      host.pipe(this.#port!);
    }).listen(this.#socket);
  }

  bulkSocket(): string { return this.#socket; }

  async exec(_vm: Vm, request: GuestExecRequest): Promise<GuestProcess> {
    this.requests.push(request);
    const refusal = this.refusals.shift();
    if (refusal !== undefined) throw refusal;
    const path = join(area.room(), 'port');
    const inside = createServer().listen(path);
    await once(inside, 'listening');
    const own = connect(path).pause();
    [this.#port] = await once(inside, 'connection') as [Socket];
    this.#port.on('error', () => undefined);
    this.#ports.push(this.#port);
    inside.close();
    const child = spawn(program, request.command.slice(1), { stdio: [own, 'pipe', 'pipe'] });
    own.destroy();
    const end = new ChildEnd(child);
    this.ends.push(end);
    return end;
  }

  close(): void {
    for (const { child } of this.ends) child.kill('SIGKILL');
    for (const port of this.#ports) port.destroy();
    this.#server.close();
  }
}

const activity = createActivity();
let guest: Guest;
let here: string;
let closing: AbortController;
beforeEach(() => {
  [guest, here, closing] = [new Guest(), area.room(), new AbortController()];
  for (const dir of ['git', 'work', 'guest']) mkdirSync(join(here, dir));
});
afterEach(() => {
  guest.close();
  expect(activity.held).toBe(0);
});

const files = (agent: Pick<GuestAgent, 'exec' | 'bulkSocket'>, limits: { stallLimitMs?: number; hangupMs?: number } = {}) => createGuestFiles({
  copies: createDirectCopies(agent), exec: createExec(), program, activity, signal: closing.signal, stallLimitMs: 60_000, hangupMs: 10_000, ...limits,
});
function listed(records: readonly string[]): SendFiles {
  const listFile = join(here, 'list');
  writeFileSync(listFile, records.map((record) => `${record}\0`).join(''));
  return { listFile, bases: [join(here, 'git'), join(here, 'work')], guestPath: join(here, 'guest/repo') };
}
const ctx = (more: Partial<SendFilesContext> = {}): SendFilesContext => ({ signal: new AbortController().signal, opId: 'op-1', log: nullLog, ...more });
const send = (records: readonly string[], more: Partial<SendFilesContext> = {}): Promise<SentFiles> => files(guest).send(vm, listed(records), ctx(more));
const inGuest = (path: string): string => readFileSync(join(here, 'guest/repo', path), 'utf8');

describe('files', () => {
  it('arrive, and nothing is left running', async () => {
    writeFileSync(join(here, 'git/HEAD'), 'ref');
    writeFileSync(join(here, 'work/big'), Buffer.alloc(8_000_000, 'all of it'));
    symlinkSync('big', join(here, 'work/link'));
    const moved: number[] = [];
    const names: string[] = [];
    expect(await send(['1/big', '1/link', '0/HEAD'], { onProgress: (bytes, name) => { moved.push(bytes); names.push(name); } })).toEqual({ notes: [], hostPartial: false, guestPartial: false });
    expect([inGuest('HEAD'), inGuest('link').length]).toEqual(['ref', 8_000_000]);
    expect(moved.at(-1)).toBeGreaterThan(8_000_000);
    expect(names.at(-1)).toBe('./HEAD');
    expect(guest.requests).toEqual([{
      command: ['copy', 'receive', '--port', expect.stringMatching(/^[0-9a-f]{32}$/), '--into', '--', join(here, 'guest/repo')], builtin: true, env: {}, stdin: false, bulk: 'stdin',
    }]);
    expect(guest.ends[0]!.child.exitCode).toBe(0);
  });

  it('that are gone are told, and the others arrive', async () => {
    for (const name of ['one', 'three']) writeFileSync(join(here, 'work', name), name);
    expect(await send(['1/one', '1/two\u001b', '1/three'])).toEqual({ notes: ['host: cannot read two\\x1b: No such file or directory'], hostPartial: true, guestPartial: false });
    expect(readdirSync(join(here, 'guest/repo')).sort()).toEqual(['one', 'three']);
  });

  it('that something of the guest is in the way of are told', async () => {
    writeFileSync(join(here, 'work/one'), 'one');
    mkdirSync(join(here, 'guest/repo/one'), { recursive: true });
    const sent = await send(['1/one']);
    expect(sent).toMatchObject({ hostPartial: false, guestPartial: true });
    expect(sent.notes).toEqual([expect.stringMatching(/^guest: .*one/)]);
  });

  it('wait for the copy that has the port', async () => {
    writeFileSync(join(here, 'work/one'), 'one');
    const copies = createDirectCopies(guest);
    const said: unknown[] = [];
    const log: Logger = { ...nullLog, child: () => log, info: (first) => { said.push(first); } };
    const first = await copies.begin(vm, { command: ['copy', 'receive', '--into', '--', join(here, 'guest/other')], builtin: true, env: {}, stdin: true }, { signal: closing.signal, log });
    const shared = createGuestFiles({ copies, exec: createExec(), program, activity, signal: closing.signal, stallLimitMs: 60_000, hangupMs: 10_000 });
    const sending = shared.send(vm, listed(['1/one']), ctx({ log }));
    const given = shared.send(vm, listed(['1/one']), ctx({ signal: AbortSignal.abort(cancelled('It')) }));
    await expect(given).rejects.toMatchObject({ code: 'cancelled', message: 'It was cancelled' });
    await waitFor('a word in the log', () => said.length > 0);
    expect([guest.requests.length, await copies.begin(vm, guest.requests[0]!, { signal: closing.signal, log })]).toEqual([1, undefined]);
    first!.process.hangup();
    expect(await sending).toMatchObject({ notes: [] });
    expect(inGuest('one')).toBe('one');
  });

  it('wait for what an earlier daemon has left at the port', async () => {
    writeFileSync(join(here, 'work/one'), 'one');
    guest.refusals.push(operationFailed('exec in devbox: cannot open the port: Resource busy'));
    expect(await send(['1/one'])).toMatchObject({ notes: [] });
    expect(guest.requests.length).toBe(2);
    guest.refusals.push(operationFailed('exec in devbox: no such user'));
    await expect(send(['1/one'])).rejects.toMatchObject({ message: 'exec in devbox: no such user' });
  });
});

describe('it fails', () => {
  it('without a port', async () => {
    const agent = { exec: () => Promise.reject(new Error('nobody asked for that')), bulkSocket: () => undefined };
    await expect(files(agent).send(vm, listed([]), ctx())).rejects.toMatchObject({ code: 'unsupported', hint: expect.stringContaining('banger vm restart devbox') as string });
  });

  it('with the reason of the guest', async () => {
    writeFileSync(join(here, 'work/one'), Buffer.alloc(4_000_000));
    writeFileSync(join(here, 'guest/repo'), 'a file');
    await expect(send(['1/one'])).rejects.toMatchObject({
      code: 'operation_failed', message: expect.stringMatching(/^The guest of devbox did not take the files for .*repo: .*is not a directory/) as string,
    });
    expect(readFileSync(join(here, 'guest/repo'), 'utf8')).toBe('a file');
  });

  it('with the reason of the host', async () => {
    await expect(send(['7/one'])).rejects.toMatchObject({ code: 'operation_failed', message: 'The files for devbox could not be sent: the list has something else than <n>/<path>: 7/one' });
    expect(guest.ends[0]!.child.exitCode).toBe(3);
    expect(readdirSync(join(here, 'guest'))).toEqual([]);
  });

  it('when the guest stands still', async () => {
    guest.isFrozen = true;
    await expect(files(guest, { stallLimitMs: 200 }).send(vm, listed([]), ctx())).rejects.toMatchObject({
      code: 'timeout', message: expect.stringMatching(/^Gave up waiting for the guest of devbox to take more for .*repo after 0.2 s/) as string,
    });
    expect(guest.ends[0]!.hangups).toBe(1);
  });

  it('when the guest is gone in the middle', async () => {
    writeFileSync(join(here, 'work/big'), Buffer.alloc(80_000_000));
    const sending = send(['1/big'], { onProgress: () => { guest.ends[0]!.child.kill('SIGKILL'); } });
    await expect(sending).rejects.toMatchObject({ code: 'operation_failed', message: expect.stringContaining('did not take the files') as string });
  });

  it.each(['call', 'daemon'] as const)('when the %s is cancelled, with both ends over and nothing put in place', async (which) => {
    writeFileSync(join(here, 'work/big'), Buffer.alloc(80_000_000));
    const cancel = which === 'call' ? new AbortController() : closing;
    const sending = send(['1/big'], { signal: which === 'call' ? cancel.signal : new AbortController().signal, onProgress: () => { cancel.abort(cancelled('It')); } });
    await expect(sending).rejects.toMatchObject({ code: 'cancelled' });
    await vi.waitFor(() => expect(guest.ends[0]!.child.exitCode ?? guest.ends[0]!.child.signalCode).not.toBeNull(), { timeout: 10_000 });
    expect(readdirSync(join(here, 'guest'))).toEqual([]);
  });
});
