import { expect, onTestFinished, test } from 'vitest';
import { busy, unsupported } from '../../core/plugin-api.ts';
import type { Vm } from '../../core/plugin-api.ts';
import type { PortForward, PortForwards } from '../usernet/capability.ts';
import type { Forwards } from '../usernet/forwards.ts';
import { AutoForwards, maxAuto, restMs } from './auto-forwards.ts';
import { ScriptedListeners, addressOf, fetchText, freePort, limit, listening, log, realForwards, serve, testVm } from './testing/guest.ts';

const retry = { firstMs: 5, lastMs: 20, goodMs: 60_000 };
interface World { readonly vm: Vm; readonly forwards: Forwards; readonly listeners: ScriptedListeners; readonly auto: AutoForwards }

async function world(options: { readonly vm?: Vm; readonly forwards?: Forwards; readonly firstOpen?: number; readonly refusedMs?: number } = {}): Promise<World> {
  const vm = options.vm ?? testVm();
  const forwards = options.forwards ?? await realForwards([vm], options.firstOpen);
  const listeners = new ScriptedListeners();
  const auto = new AutoForwards({ listeners, forwards, log, address: addressOf, retry, ...(options.refusedMs === undefined ? {} : { refusedMs: options.refusedMs }) }, vm);
  onTestFinished(() => auto.stop());
  return { vm, forwards, listeners, auto };
}
const ports = ({ forwards, vm }: Pick<World, 'forwards' | 'vm'>): number[] => forwards.list(vm).map((forward) => forward.hostPort);
const autos = ({ forwards, vm }: Pick<World, 'forwards' | 'vm'>): readonly PortForward[] => forwards.list(vm).filter(({ source }) => source === 'auto');

test('what listens is forwarded at the same port of the VM\'s address, and withdrawn when it closes', async () => {
  const here = await world();
  const address = addressOf(here.vm);
  const { port } = await serve('127.0.0.1', 0, (socket) => { socket.end('from the guest'); });
  here.listeners.say(listening(port));
  await expect.poll(() => fetchText(address, port), limit).toBe('from the guest');
  expect(autos(here)).toEqual([{ protocol: 'tcp', address, hostPort: port, guestPort: port, guestHost: '127.0.0.1', source: 'auto' }]);
  here.listeners.say(listening());
  await expect.poll(() => fetchText(address, port), limit).toBe('ECONNREFUSED');
});

test('a server on the guest\'s own address is met there', async () => {
  const here = await world();
  const { port } = await serve('127.37.1.1', 0, (socket) => { socket.end('there'); });
  here.listeners.say(listening(['127.37.1.1', port]));
  await expect.poll(() => fetchText(addressOf(here.vm), port), limit).toBe('there');
  // It begins to listen everywhere: the way there changes, the port stays.
  await serve('127.0.0.1', port, (socket) => { socket.end('everywhere'); });
  here.listeners.say(listening(port));
  await expect.poll(() => fetchText(addressOf(here.vm), port), limit).toBe('everywhere');
  expect(autos(here)).toHaveLength(1);
});

test('two VMs have the same port at once, each on its own address', async () => {
  const [one, two] = [testVm('one'), testVm('two')];
  const forwards = await realForwards([one, two]);
  const { port } = await serve('127.0.0.1', 0, (socket) => { socket.end('hello'); });
  const [first, second] = [await world({ vm: one, forwards }), await world({ vm: two, forwards })];
  first.listeners.say(listening(port));
  second.listeners.say(listening(port));
  for (const vm of [one, two]) await expect.poll(() => fetchText(addressOf(vm), port), limit).toBe('hello');
  await first.auto.stop();
  expect(await fetchText(addressOf(one), port)).toBe('ECONNREFUSED');
  expect(await fetchText(addressOf(two), port)).toBe('hello');
});

test('an ordinary user\'s ports below the host\'s limit are at 20000 more', async () => {
  const here = await world({ firstOpen: 1024 });
  here.listeners.say(listening(80, 8080));
  await expect.poll(() => ports(here), limit).toEqual([20_080, 8080]);
  here.listeners.say(listening(80));
  await expect.poll(() => ports(here), limit).toEqual([20_080]);
});

test('two ports of the guest that come to one number here: the first has it, the other is told of', async () => {
  const here = await world({ firstOpen: 1024, refusedMs: 20 });
  here.listeners.say(listening(80));
  await expect.poll(() => ports(here), limit).toEqual([20_080]);
  here.listeners.say(listening(80, 20_080));
  const busy = { protocol: 'tcp', guestPort: 20_080, why: `Port ${addressOf(here.vm)}:20080 is busy: VM devbox (automatic) listens there` };
  await expect.poll(() => here.forwards.unforwarded(here.vm), limit).toEqual([busy]);
  expect(autos(here).map(({ hostPort, guestPort }) => [hostPort, guestPort])).toEqual([[20_080, 80]]);
  here.listeners.say(listening(20_080));
  await expect.poll(() => autos(here).map(({ hostPort, guestPort }) => [hostPort, guestPort]), limit).toEqual([[20_080, 20_080]]);
});

test('opening and closing a hundred times leaves no listener', async () => {
  const here = await world();
  const port = await freePort(addressOf(here.vm));
  for (let n = 0; n < 100; n += 1) {
    here.listeners.say(listening(port));
    here.listeners.say(listening());
  }
  here.listeners.say(listening(port));
  await expect.poll(() => ports(here), limit).toEqual([port]);
  here.listeners.say(listening());
  await expect.poll(() => ports(here), limit).toEqual([]);
  expect(await fetchText(addressOf(here.vm), port)).toBe('ECONNREFUSED');
});

test('of a thousand ports 256 are forwarded, those that were stay, and it is said', async () => {
  const here = await world();
  const storm = Array.from({ length: 1000 }, (_, n) => 20_000 + n);
  here.listeners.say(listening(30_000));
  await expect.poll(() => ports(here), limit).toEqual([30_000]);
  here.listeners.say({ ...listening(...storm, 30_000), more: 7 });
  await expect.poll(() => ports(here).length, limit).toBe(maxAuto);
  await expect.poll(() => here.auto.notices(), limit).toEqual(['752 ports of the guest are not forwarded: 256 automatic forwards are all a VM gets']);
  expect(ports(here)).toContain(30_000);
  expect(here.forwards.unforwarded(here.vm)).toHaveLength(745);
  here.listeners.say(listening(30_000));
  await expect.poll(() => ports(here), limit).toEqual([30_000]);
  await expect.poll(() => [here.auto.notices(), here.forwards.unforwarded(here.vm)], limit).toEqual([[], []]);
});

test('a port that somebody has is told of with the holder, and had once it is free', async () => {
  const here = await world({ refusedMs: 50 });
  const { port, server } = await serve(addressOf(here.vm), 0, () => {});
  here.listeners.say(listening(port));
  await expect.poll(() => here.forwards.unforwarded(here.vm), limit).toEqual([
    { protocol: 'tcp', guestPort: port, why: expect.stringContaining(`(pid ${process.pid}) listens there`) as string },
  ]);
  server.close();
  // The guest says nothing new.
  await expect.poll(() => ports(here), limit).toEqual([port]);
  expect(here.forwards.unforwarded(here.vm)).toEqual([]);
});

test('what is published at its own number needs no automatic forward; where that ends, it comes', async () => {
  const here = await world();
  const address = addressOf(here.vm);
  const [port, other] = [await freePort(address), await freePort(address)];
  const kinds = (): string[] => here.forwards.list(here.vm).map(({ hostPort, source }) => `${hostPort} ${source}`).sort();
  const publish = async (...rules: (readonly [hostPort: number, guestPort: number])[]): Promise<void> => {
    await here.forwards.replace(here.vm, rules.map(([hostPort, guestPort]) => ({ address, hostPort, guestPort })));
    here.auto.again();
  };
  here.listeners.say(listening(port));
  await expect.poll(kinds, limit).toEqual([`${port} auto`]);
  await publish([other, port]);
  await expect.poll(kinds, limit).toEqual([`${port} auto`, `${other} published`].sort());
  await publish([port, port]);
  await expect.poll(kinds, limit).toEqual([`${port} published`]);
  // The number leads elsewhere: that is said.
  await publish([port, other]);
  await expect.poll(() => here.forwards.unforwarded(here.vm).map(({ why }) => why), limit).toEqual([`Port ${address}:${port} is busy: VM devbox (published) listens there`]);
  await publish();
  await expect.poll(kinds, limit).toEqual([`${port} auto`]);
});

test('watches again when the guest\'s agent comes anew; forwards stay until it says otherwise', async () => {
  const here = await world();
  const port = await freePort(addressOf(here.vm));
  here.listeners.say(listening(port));
  await expect.poll(() => ports(here), limit).toEqual([port]);
  here.listeners.snapshot = undefined;
  here.listeners.lose();
  await expect.poll(() => here.auto.notices(), limit).toEqual(['the guest does not tell what listens: the session was lost']);
  expect(ports(here)).toEqual([port]);
  await expect.poll(() => here.listeners.watching, limit).toBe(1);
  here.listeners.say(listening());
  await expect.poll(() => ports(here), limit).toEqual([]);
  expect(here.auto.notices()).toEqual([]);
});

test('an older agent is asked once', async () => {
  const vm = testVm();
  const listeners = new ScriptedListeners();
  listeners.failure = unsupported('the guest agent of devbox is too old');
  const auto = new AutoForwards({ listeners, forwards: await realForwards([vm]), log, address: addressOf, retry }, vm);
  onTestFinished(() => auto.stop());
  await expect.poll(() => auto.notices(), limit).toEqual(['the guest does not tell what listens: the guest agent of devbox is too old']);
  // Another guest, which only fails, is asked again and again meanwhile.
  const other = await world();
  other.listeners.failure = new Error('not now');
  other.listeners.lose();
  await expect.poll(() => other.listeners.watches, limit).toBeGreaterThan(5);
  listeners.failure = undefined;
  listeners.say(listening(1));
  expect([listeners.watches, listeners.watching]).toEqual([1, 0]);
});

test('stopping ends the watch and its forwards, and leaves the others', async () => {
  const here = await world();
  const address = addressOf(here.vm);
  const [port, published] = [await freePort(address), await freePort(address)];
  await here.forwards.replace(here.vm, [{ address, hostPort: published, guestPort: 1 }]);
  here.listeners.say(listening(port));
  await expect.poll(() => ports(here), limit).toEqual([published, port]);
  await here.auto.stop();
  expect([ports(here), here.listeners.watching]).toEqual([[published], 0]);
  here.listeners.say(listening(port));
  expect(ports(here)).toEqual([published]);
});

test('between ports that cannot be had the daemon has other work done', async () => {
  const vm = testVm();
  let asked = 0;
  let others = 0;
  const forwards: PortForwards = {
    list: () => [], close() {}, setUnforwarded() {}, unforwarded: () => [], onPublish: () => () => undefined,
    open: () => {
      if (asked === 0) setImmediate(() => { others = asked; });
      asked += 1;
      return Promise.reject(busy('a port', 'somebody'));
    },
  };
  const here = await world({ vm, forwards: forwards as Forwards });
  here.listeners.say(listening(...Array.from({ length: 100 }, (_, n) => 20_000 + n)));
  await expect.poll(() => asked, limit).toBe(100);
  expect(others).toBeLessThan(5);
});

test('a guest whose every change is much work waits longer for the next look', () => {
  expect([0, 5, 30, 100, 60_000].map(restMs)).toEqual([100, 100, 300, 1000, 5000]);
});
