import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { operationFailed } from '../../core/plugin-api.ts';
import type { BangerError, Change, StartContext, UndoContext, Vm } from '../../core/plugin-api.ts';
import type { Forwards } from '../usernet/forwards.ts';
import { createPortsByVm } from './ports-by-vm.ts';
import type { PortsByVm } from './ports-by-vm.ts';
import { ScriptedListeners, addressOf, fetchText, freePort, limit, listening, log, realForwards, serve, testVm } from './testing/guest.ts';
import type { VmPorts } from './vm-ports.ts';

interface World { readonly vm: Vm; readonly forwards: Forwards; readonly listeners: ScriptedListeners; readonly all: PortsByVm; ports(): VmPorts }
const retry = { firstMs: 5, lastMs: 20, goodMs: 60_000 };
const undoContext = (vm: Vm): UndoContext => ({ vm, log, signal: AbortSignal.timeout(10_000), reason: 'stop' });

function daemon(vm: Vm, forwards: Forwards): Omit<World, 'vm' | 'forwards'> {
  const listeners = new ScriptedListeners();
  const all = createPortsByVm({
    listeners, forwards, log, address: addressOf, retry, hostAccess: [], askLimitMs: 5000, use: { hold: () => () => undefined },
    agent: { listen: () => Promise.reject(operationFailed('no')) },
  });
  onTestFinished(() => all.closeAll());
  return { listeners, all, ports: () => all.get(vm.id)! };
}
async function world(sections: Readonly<Record<string, never>> | { readonly ports: { readonly auto: boolean } } = {}): Promise<World> {
  const vm = { ...testVm(), spec: { sections } } as unknown as Vm;
  const forwards = await realForwards([vm]);
  const made = daemon(vm, forwards);
  await made.all.step.run({ vm, touched: () => Promise.resolve() } as StartContext, { file: '' });
  return { vm, forwards, ...made };
}
const ended = (vm: Vm): string => readFileSync(join(vm.dir, 'ports.json'), 'utf8');

test('an added port leads to the guest until it is removed, and its file says so', async () => {
  const { vm, ports, forwards } = await world();
  const { port } = await serve('127.0.0.1', 0, (socket) => { socket.end('hello'); });
  const hostPort = await freePort(addressOf(vm));
  const forward = await ports().add({ protocol: 'tcp', guestPort: port, hostPort });
  expect(forward).toEqual({ protocol: 'tcp', address: addressOf(vm), hostPort, guestPort: port, guestHost: 'localhost', source: 'added' });
  expect(await fetchText(addressOf(vm), hostPort)).toBe('hello');
  expect(JSON.parse(ended(vm))).toEqual({ version: 1, added: [{ protocol: 'tcp', address: addressOf(vm), hostPort, guestPort: port, guestHost: 'localhost' }] });
  await expect(ports().remove({ protocol: 'udp', hostPort })).rejects.toMatchObject({ code: 'not_found' });
  expect(await ports().remove({ protocol: 'tcp', hostPort })).toEqual(forward);
  expect(await fetchText(addressOf(vm), hostPort)).toBe('ECONNREFUSED');
  expect([forwards.list(vm), JSON.parse(ended(vm))]).toEqual([[], { version: 1, added: [] }]);
});

test('an added port leads to where the guest listens now; a guest that does not say is taken to listen on its loopback', async () => {
  const { vm, ports, listeners } = await world({ ports: { auto: false } });
  const hostPort = await freePort(addressOf(vm));
  listeners.snapshot = listening(['10.0.3.15', 99]);
  expect(await ports().add({ protocol: 'tcp', guestPort: 99, hostPort })).toMatchObject({ guestHost: '10.0.3.15' });
  await ports().remove({ protocol: 'tcp', hostPort });
  listeners.failure = operationFailed('nonsense');
  expect(await ports().add({ protocol: 'tcp', guestPort: 99, hostPort })).toMatchObject({ guestHost: 'localhost' });
});

test('a new daemon opens what was added again, and says what it cannot have', async () => {
  const before = await world();
  const { vm } = before;
  const { port } = await serve('127.0.0.1', 0, (socket) => { socket.end('again'); });
  const [kept, lost] = [await freePort(addressOf(vm)), await freePort(addressOf(vm))];
  await before.ports().add({ protocol: 'tcp', guestPort: port, hostPort: kept });
  await before.ports().add({ protocol: 'tcp', guestPort: 7, hostPort: lost });
  // Its end is that of a process: nothing is tidied up.
  before.forwards.closeAll();
  const forwards = await realForwards([vm]);
  const { server } = await serve(addressOf(vm), lost, () => {});
  const after = daemon(vm, forwards);
  await after.all.step.adopt?.(undoContext(vm), { file: '' }, null);
  expect(await fetchText(addressOf(vm), kept)).toBe('again');
  expect(after.ports().notices()).toEqual([expect.stringMatching(/^added port 7 is gone: Port .* listens there$/)]);
  after.listeners.say(listening(port));
  await expect.poll(() => forwards.list(vm).map(({ hostPort, source }) => [hostPort, source]), limit).toEqual([[kept, 'added'], [port, 'auto']]);
  // Asked for again, it is not gone any longer.
  await new Promise((resolve) => server.close(resolve));
  await after.ports().add({ protocol: 'tcp', guestPort: 7, hostPort: lost });
  expect(after.ports().notices()).toEqual([]);
});

test('a change of the VM waits for no guest that is asked where a port listens', async () => {
  const { vm, all, ports, listeners } = await world();
  const answer = Promise.withResolvers<void>();
  let asked = 0;
  listeners.list = async () => { asked += 1; await answer.promise; return listening(); };
  const adding = ports().add({ protocol: 'tcp', guestPort: 80, hostPort: await freePort(addressOf(vm)) });
  await expect.poll(() => asked, limit).toBe(1);
  const spec = (auto: boolean): Vm['spec'] => ({ sections: { ports: { auto } } }) as unknown as Vm['spec'];
  await all.reconfigure(vm, { before: spec(true), after: spec(false), running: true }, undoContext(vm));
  expect(ports().isAuto).toBe(false);
  answer.resolve();
  expect(await adding).toMatchObject({ guestPort: 80, source: 'added' });
});

test('what cannot be noted down leaves the ports as they were', async () => {
  const { vm, ports, forwards, listeners } = await world();
  const [kept, auto] = [await freePort(addressOf(vm)), await freePort(addressOf(vm))];
  const request = { protocol: 'tcp', guestPort: 7, hostPort: kept } as const;
  await ports().add(request);
  listeners.say(listening(auto));
  await expect.poll(() => forwards.list(vm).map(({ source }) => source), limit).toEqual(['added', 'auto']);
  const file = ended(vm);
  mkdirSync(join(vm.dir, 'ports.json.part'));
  for (const guestPort of [7, auto]) await expect(ports().add({ ...request, guestPort, hostPort: guestPort === 7 ? kept : auto })).rejects.toMatchObject({ code: 'operation_failed' });
  await expect(ports().remove({ protocol: 'tcp', hostPort: kept })).rejects.toMatchObject({ code: 'operation_failed', message: 'The ports of devbox cannot be noted down' });
  await expect.poll(() => forwards.list(vm).map(({ hostPort, source }) => [hostPort, source]), limit).toEqual([[kept, 'added'], [auto, 'auto']]);
  expect(ended(vm)).toBe(file);
});

test('a file that is none of ours keeps the rest from nothing', async () => {
  const { vm, forwards } = await world();
  writeFileSync(join(vm.dir, 'ports.json'), '{"version":1,"added":[{"hostPort":"x"}]}');
  const after = daemon(vm, forwards);
  await expect(after.all.step.adopt?.(undoContext(vm), { file: '' }, null)).rejects.toThrow(/./);
  after.listeners.say(listening(12_345));
  await expect.poll(() => forwards.list(vm).length, limit).toBe(1);
});

test('only added ports can be removed, and the others say how they go', async () => {
  const { vm, ports, forwards, listeners } = await world();
  const [published, auto] = [await freePort(addressOf(vm)), await freePort(addressOf(vm))];
  await forwards.replace(vm, [{ address: addressOf(vm), hostPort: published, guestPort: 80 }]);
  listeners.say(listening(auto));
  await expect.poll(() => forwards.list(vm).length, limit).toBe(2);
  await expect(ports().remove({ protocol: 'tcp', hostPort: published })).rejects.toMatchObject({ code: 'wrong_state', hint: expect.stringContaining('--publish') });
  await expect(ports().remove({ protocol: 'tcp', hostPort: auto })).rejects.toMatchObject({ code: 'wrong_state', hint: expect.stringContaining('--no-auto-ports') });
  await expect(ports().add({ protocol: 'tcp', guestPort: 81, hostPort: published })).rejects.toMatchObject({ code: 'busy', message: expect.stringContaining('VM devbox (published)') });
});

test('once an added port is removed, its listener is forwarded automatically again', async () => {
  const { vm, ports, forwards, listeners } = await world();
  const port = await freePort(addressOf(vm));
  listeners.say(listening(port));
  await expect.poll(() => forwards.list(vm)[0]?.source, limit).toBe('auto');
  await ports().add({ protocol: 'tcp', guestPort: port });
  expect(forwards.list(vm).map(({ source }) => source)).toEqual(['added']);
  await ports().remove({ protocol: 'tcp', hostPort: port });
  await expect.poll(() => forwards.list(vm).map(({ source }) => source), limit).toEqual(['auto']);
});

test('vm set switches automatic forwards of a running VM off and on', async () => {
  const { vm, all, ports, forwards, listeners } = await world();
  const port = await freePort(addressOf(vm));
  const change = (auto: boolean, running = true): Change => ({ before: vm.spec, after: { ...vm.spec, sections: { ports: { auto } } }, running });
  listeners.say(listening(port));
  await expect.poll(() => forwards.list(vm).length, limit).toBe(1);
  await all.reconfigure(vm, change(false, false), undoContext(vm));
  expect(ports().isAuto).toBe(true);
  await all.reconfigure(vm, change(false), undoContext(vm));
  expect([forwards.list(vm), ports().isAuto, listeners.watching]).toEqual([[], false, 0]);
  await all.reconfigure(vm, change(true), undoContext(vm));
  await expect.poll(() => forwards.list(vm).length, limit).toBe(1);
});

test('the undo ends all of it, whatever is under way, and works again and from nothing', async () => {
  const { vm, all, ports, forwards, listeners } = await world();
  const [added, auto] = [await freePort(addressOf(vm)), await freePort(addressOf(vm))];
  listeners.say(listening(auto));
  await expect.poll(() => forwards.list(vm).length, limit).toBe(1);
  const under = ports();
  const pending = under.add({ protocol: 'tcp', guestPort: 80, hostPort: added }).then(() => 'added', () => 'refused');
  const queued = under.add({ protocol: 'tcp', guestPort: 81 }).then(() => 'added', (error: BangerError) => error.code);
  await all.step.undo?.(undoContext(vm), { file: '' }, null);
  await pending;
  expect(await queued).toBe('not_running');
  expect([forwards.list(vm), existsSync(join(vm.dir, 'ports.json')), listeners.watching]).toEqual([[], false, 0]);
  await expect(under.add({ protocol: 'tcp', guestPort: 82 })).rejects.toMatchObject({ code: 'not_running' });
  await all.step.undo?.(undoContext(vm), { file: '' }, undefined);
  await daemon(vm, forwards).all.step.undo?.(undoContext(vm), { file: '' }, undefined);
});

test('a VM gets 256 added ports, 32 of them UDP', async () => {
  const { ports } = await world({ ports: { auto: false } });
  for (let n = 0; n < 256; n += 1) await ports().add({ protocol: 'tcp', guestPort: 1000 + n, hostPort: 40_000 + n });
  await expect(ports().add({ protocol: 'tcp', guestPort: 1 })).rejects.toMatchObject({ message: '256 added ports are all a VM gets' });
  for (let n = 0; n < 32; n += 1) await ports().remove({ protocol: 'tcp', hostPort: 40_000 + n });
  for (let n = 0; n < 31; n += 1) await ports().add({ protocol: 'udp', guestPort: 1000 + n, hostPort: 40_000 + n });
  await ports().remove({ protocol: 'tcp', hostPort: 40_100 });
  await ports().add({ protocol: 'udp', guestPort: 5000, hostPort: 45_000 });
  await expect(ports().add({ protocol: 'udp', guestPort: 1, hostPort: 45_001 })).rejects.toMatchObject({ message: '32 UDP ports are all a VM gets' });
});
