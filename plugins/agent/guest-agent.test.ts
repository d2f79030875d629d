// The capability over the real agent: links that come back, readiness, reboots counted once.
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, onTestFinished } from 'vitest';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { notRunning } from '../../core/plugin-api.ts';
import type { GuestPeer, Vm, VmmDriver, Vms } from '../../core/plugin-api.ts';
import { createGuestAgent } from './guest-agent.ts';
import type { AgentLinks } from './guest-agent.ts';
import { buildTestAgent, collect, failureOf, idle, openSocket, quietLog, startTestAgent, testToken, until } from './test-agent.ts';
import type { TestAgent } from './test-agent.ts';

let program: string;
let agent: TestAgent;
let links: AgentLinks;
let vm: Vm;
let sockets: Socket[];
let reboots: number;
let isPaused: boolean;
/** What holds the VM in use. */
let held: Map<symbol, string>;
const use = {
  hold(id: string, what: string) {
    const hold = Symbol(id);
    held.set(hold, what);
    return () => { held.delete(hold); };
  },
};

beforeAll(async () => {
  program = (await buildTestAgent()).path;
  agent = await startTestAgent(program);
});
afterAll(() => agent.stop());
beforeEach(async () => {
  const dir = await mkdtemp(join(tmpdir(), 'banger-link-'));
  await writeFile(join(dir, 'agent-token'), testToken);
  vm = { id: 'a'.repeat(12), name: 'devbox', slot: 1, mark: 'x/y', dir, createdAt: '', spec: { image: 'i', imageName: 'i', kernel: 'k', driver: 'fake', vcpu: 1, memoryMiB: 512, init: 'auto', env: {}, sections: {} } };
  sockets = [];
  reboots = 0;
  isPaused = false;
  held = new Map();
  let refusals = 2;
  const driver: VmmDriver = {
    driveFormats: ['raw'], consoleLogs: () => [], available: () => Promise.resolve({ ok: true, preference: 1 }),
    // Not there at first, as when the VMM has yet to listen.
    async connectAgent() {
      if (refusals-- > 0) throw notRunning('devbox', 'its VMM does not listen');
      const socket = await openSocket(agent.socketPath);
      sockets.push(socket);
      return socket;
    },
  };
  const vms: Vms = { get: () => vm, list: () => [vm], isRunning: () => true, process: () => undefined, paused() {}, isPaused: () => isPaused, resolve: () => vm, running: () => Promise.resolve(vm), ended() {}, note() {}, rebooted: () => { reboots += 1; }, onChange: () => () => {} };
  links = createGuestAgent({ vms, use, host: { slowdown: 1 }, log: quietLog, driver: (of) => (of.spec.driver === 'fake' ? driver : undefined) });
});
afterEach(async () => {
  links.closeAll();
  await rm(vm.dir, { recursive: true, force: true });
});

it('waits until the agent is there, and says what it is', async () => {
  const info = await links.ready(vm, idle);
  expect(info).toMatchObject({ version: '0.1.0', protocol: 2, problems: [] });
  expect(await links.info(vm)).toEqual({ version: '0.1.0', protocol: 2, bootId: info.bootId, init: 'image' });
  expect(await readFile(join(vm.dir, 'agent-boot-id'), 'utf8')).toBe(info.bootId);
  const process = await links.exec(vm, { command: ['echo', 'hi'], env: {}, stdin: false }, idle);
  expect((await collect(process)).stdout).toBe('hi\n');
});

it('comes back by itself when the way is lost, and the lost exec says so', async () => {
  await links.ready(vm, idle);
  const process = await links.exec(vm, { command: ['sleep', '1000'], env: {}, stdin: false }, idle);
  const lost = failureOf(process.exit);
  sockets.at(-1)?.destroy();
  expect(await lost).toMatchObject({ code: 'operation_failed', message: 'lost contact with guest agent of devbox' });
  const again = await links.exec(vm, { command: ['echo', 'back'], env: {}, stdin: false }, idle);
  expect((await collect(again)).stdout).toBe('back\n');
  expect(reboots).toBe(0);
});

it('listens in the guest and reaches what listens there, until the session is lost', async () => {
  await links.ready(vm, idle);
  const path = join(vm.dir, 'a.sock');
  const froms: GuestPeer[] = [];
  const onConnection = (stream: Duplex, from: GuestPeer): void => {
    froms.push(from);
    stream.pipe(stream);
  };
  const listeners = [await links.listen(vm, { path }, { signal: idle, onConnection }), await links.listen(vm, { host: '127.0.0.1', port: 0 }, { signal: idle, onConnection })];
  for (const target of [{ path }, { host: 'localhost', port: listeners[1]!.port }]) {
    const stream = await links.dial(vm, target, idle);
    stream.end('and back');
    expect(Buffer.concat(await stream.toArray() as Buffer[]).toString()).toBe('and back');
  }
  expect(froms.map(({ host }) => host)).toEqual(['', '127.0.0.1']);
  sockets.at(-1)?.destroy();
  await Promise.all(listeners.map(({ closed }) => closed));
  await until(() => !existsSync(path), 'the file to be removed');
  // The next session takes the place anew.
  (await links.listen(vm, { path }, { signal: idle, onConnection })).close();
});

it('holds the VM in use while a command, a connection out of it or into it lives, and not for what is asked in the background', async () => {
  await links.ready(vm, idle);
  const what = (): string[] => [...held.values()].toSorted();
  const [command, asked, own] = await Promise.all([{ command: ['cat'] }, { command: ['cat'], background: true }, { command: ['keep', 'list'], builtin: true }]
    .map((request) => links.exec(vm, { env: {}, stdin: true, ...request }, idle)));
  await own!.exit;
  await until(() => !what().includes('keep'), 'the end of the program');
  expect(what()).toEqual(['command']);
  const path = join(vm.dir, 'b.sock');
  const taken: Duplex[] = [];
  const listener = await links.listen(vm, { path }, { signal: idle, onConnection: (connection) => { taken.push(connection); } });
  // A listener that nobody connects to is no use.
  expect(what()).toEqual(['command']);
  const connection = await links.dial(vm, { path }, idle);
  await until(() => taken.length === 1, 'the connection');
  expect(what()).toEqual(['command', `connection to ${path}`, `connection to ${path} of the guest`]);
  connection.destroy();
  taken[0]!.destroy();
  listener.close();
  await until(() => held.size === 1, 'the connections to be let go');
  asked!.stdin.end();
  await asked!.exit;
  command!.stdin.end();
  await command!.exit;
  await until(() => held.size === 0, 'the command to be let go');
  await failureOf(links.dial(vm, { path: join(vm.dir, 'nobody') }, idle));
  await failureOf(links.exec(vm, { command: ['true'], env: {}, stdin: false, user: 'nobody-here' }, idle));
  const lost = await links.exec(vm, { command: ['cat'], env: {}, stdin: true }, idle);
  const end = failureOf(lost.exit);
  expect(held.size).toBe(1);
  sockets.at(-1)?.destroy();
  await end;
  await until(() => held.size === 0, 'the lost command to be let go');
});

it('refuses at once what a paused guest cannot answer, and what is open goes on after the pause', async () => {
  await links.ready(vm, idle);
  const open = await links.exec(vm, { command: ['cat'], env: {}, stdin: true }, idle);
  isPaused = true;
  const refused = { code: 'wrong_state', message: 'VM devbox is paused', hint: 'banger vm resume devbox' };
  agent.child.kill('SIGSTOP');
  try {
    await expect(links.exec(vm, { command: ['true'], env: {}, stdin: false }, idle)).rejects.toMatchObject(refused);
    await expect(links.dial(vm, { host: 'localhost', port: 1 }, idle)).rejects.toMatchObject(refused);
    await expect(links.listen(vm, { host: '*', port: 0 }, { signal: idle, onConnection: () => undefined })).rejects.toMatchObject(refused);
    await expect(links.info(vm)).rejects.toMatchObject(refused);
    await expect(links.shutdown(vm, 'poweroff', idle)).rejects.toMatchObject(refused);
    expect(held.size).toBe(1);
    open.stdin.end('said while it stood still');
  } finally {
    agent.child.kill('SIGCONT');
  }
  isPaused = false;
  expect(await collect(open)).toMatchObject({ stdout: 'said while it stood still', exit: { code: 0 } });
});

it('counts a reboot once, also one that happened while no daemon ran', async () => {
  await links.attach(vm, 'another-boot');
  await until(() => reboots === 1, 'the reboot');
  const { bootId } = await links.info(vm);
  await until(async () => (await readFile(join(vm.dir, 'agent-boot-id'), 'utf8').catch(() => '')) === bootId, 'the boot id');
  // The handle still bears the first boot; the file knows better.
  await links.attach(vm, 'another-boot');
  await links.info(vm);
  expect(reboots).toBe(1);
});

it('gives up when told to, names what it waited for, and knows no VM without a link', async () => {
  await expect(links.info(vm)).rejects.toMatchObject({ code: 'not_running' });
  const stranger = { ...vm, spec: { ...vm.spec, driver: 'gone' } };
  const cancel = new AbortController();
  const waiting = failureOf(links.ready(stranger, cancel.signal));
  await expect(until(async () => (await links.info(stranger, { timeoutMs: 20 })).version !== '', 'nothing')).rejects.toMatchObject({ code: expect.stringMatching(/timeout|not_running/) as string });
  cancel.abort();
  expect(await waiting).toMatchObject({ code: 'cancelled', message: 'waiting for guest agent of devbox was cancelled' });
  links.close(vm.id);
  await expect(links.exec(vm, { command: ['true'], env: {}, stdin: false }, idle)).rejects.toMatchObject({ code: 'not_running' });
});

it('gives a guest up that neither begins a command nor refuses it', async () => {
  const { frozen, impatient } = await impatientWorld();
  await impatient.ready(vm, idle);
  frozen.child.kill('SIGSTOP');
  expect(await failureOf(impatient.exec(vm, { command: ['true'], env: {}, stdin: false }, idle))).toMatchObject({
    code: 'timeout', message: expect.stringContaining('the guest of devbox to begin the command') as string,
  });
  expect(await failureOf(impatient.dial(vm, { host: '127.0.0.1', port: 1 }, idle))).toMatchObject({ code: 'timeout' });
  expect(await failureOf(impatient.listen(vm, { host: '*', port: 0 }, { signal: idle, onConnection: () => undefined }))).toMatchObject({
    code: 'timeout', message: expect.stringContaining('the guest of devbox to listen on *:0') as string,
  });
});

it('asks a frozen guest nothing more in the background, and goes on when it has answered', async () => {
  const { frozen, impatient, sent } = await impatientWorld();
  const ask = (signal = idle): Promise<string> => impatient.exec(vm, { command: ['udp'], builtin: true, env: {}, stdin: false, background: true }, signal)
    .then(async (process) => (await collect(process)).stderr, (error: { code: string }) => error.code);
  await impatient.ready(vm, idle);
  frozen.child.kill('SIGSTOP');
  expect(await ask()).toBe('timeout');
  const before = sent();
  expect(await Promise.all(Array.from({ length: 20 }, () => ask()))).toEqual(Array.from({ length: 20 }, () => 'timeout'));
  expect(await ask(AbortSignal.timeout(1))).toBe('cancelled');
  expect(sent()).toBe(before);
  frozen.child.kill('SIGCONT');
  await until(async () => (await ask()).startsWith('usage: agent udp'), 'an answer');
});

/** An agent of its own, to be stopped, and links that wait for nothing long. */
async function impatientWorld(): Promise<{ readonly frozen: TestAgent; readonly impatient: AgentLinks; sent(): number }> {
  const frozen = await startTestAgent(program);
  const opened: Socket[] = [];
  const driver: VmmDriver = {
    driveFormats: ['raw'], consoleLogs: () => [], available: () => Promise.resolve({ ok: true, preference: 1 }),
    async connectAgent() {
      const socket = await openSocket(frozen.socketPath);
      opened.push(socket);
      return socket;
    },
  };
  const vms: Vms = { get: () => vm, list: () => [vm], isRunning: () => true, process: () => undefined, paused() {}, isPaused: () => false, resolve: () => vm, running: () => Promise.resolve(vm), ended() {}, note() {}, rebooted() {}, onChange: () => () => {} };
  const impatient = createGuestAgent({ vms, use, host: { slowdown: 1 }, log: quietLog, driver: () => driver, openLimitMs: 100 });
  onTestFinished(async () => {
    frozen.child.kill('SIGCONT');
    impatient.closeAll();
    await frozen.stop();
  });
  return { frozen, impatient, sent: () => opened.reduce((sum, socket) => sum + socket.bytesWritten, 0) };
}
