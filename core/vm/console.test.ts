import { mkdirSync, writeFileSync } from 'node:fs';
import { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { frameKind } from '../api.ts';
import type { VmLogsResult } from '../api.ts';
import { busy, notRunning } from '../errors.ts';
import { VmmDriver } from '../plugin-api.ts';
import type { ConsoleBoot, FrameStream, Vm } from '../plugin-api.ts';
import { fakeDriverPlugins } from '../../test/support/fake-driver.ts';
import { bootTestDaemon, makePeer, tempState } from '../../test/support/vm-fixture.ts';
import type { TestDaemon } from '../../test/support/vm-fixture.ts';
import { waitFor } from '../../test/support/wait.ts';

const boot = (): Promise<TestDaemon> => bootTestDaemon({ dir: tempState(), plugins: () => fakeDriverPlugins() });

/** Gives the fake driver what this test needs of one. */
function extend(daemon: TestDaemon, part: Partial<VmmDriver>): void {
  for (const driver of daemon.host.capabilities(VmmDriver).values()) Object.assign(driver, part);
}

/** A guest that answers every byte in upper case. */
function echo(): Duplex {
  const guest = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      guest.push(chunk.toString().toUpperCase());
      done();
    },
  });
  return guest;
}

/** The client's end of a frame stream, in memory. */
function makeClient() {
  const frames: { kind: number; text: string }[] = [];
  const closers: (() => void)[] = [];
  let handler: ((kind: number, payload: Buffer) => Promise<void> | void) | undefined;
  const state = { ended: false };
  const stream: FrameStream = {
    send: async (kind, payload) => { frames.push({ kind, text: Buffer.from(payload).toString() }); },
    onFrame: (given) => { handler = given; },
    onClose: (listener) => { closers.push(listener); },
    end: () => { state.ended = true; },
    destroy: () => { for (const closer of closers) closer(); },
  };
  return {
    stream, frames, state,
    text: () => frames.filter(({ kind }) => kind === frameKind.stdout).map(({ text }) => text).join(''),
    send: async (text: string) => {
      await waitFor('the bridge', () => handler !== undefined);
      await handler?.(frameKind.stdin, Buffer.from(text));
    },
  };
}

async function openConsole(daemon: TestDaemon) {
  const peer = makePeer();
  await daemon.call('vm.console', { ref: 'devbox' }, { peer: peer.peer });
  const client = makeClient();
  peer.offers[0]!(client.stream);
  return client;
}

describe('vm.console', () => {
  it('carries bytes both ways, and ends with the VM', async () => {
    const daemon = await boot();
    const guest = echo();
    extend(daemon, { connectConsole: () => Promise.resolve(guest) });
    await daemon.create({ name: 'devbox' });
    const client = await openConsole(daemon);
    await client.send('hello');
    await waitFor('the answer', () => client.text() === 'HELLO');
    guest.destroy();
    await waitFor('the end', () => client.state.ended);
    expect(client.frames.at(-1)).toEqual({ kind: frameKind.exit, text: '{"code":0}' });
  });

  it('tells all that the VM said last', async () => {
    const daemon = await boot();
    const guest = echo();
    extend(daemon, { connectConsole: () => Promise.resolve(guest) });
    await daemon.create({ name: 'devbox' });
    const client = await openConsole(daemon);
    const words = 'x'.repeat(1 << 20);
    guest.push(words);
    guest.push(null);
    await waitFor('the end', () => client.state.ended);
    expect(client.text()).toBe(words);
    expect(client.frames.at(-1)).toEqual({ kind: frameKind.exit, text: '{"code":0}' });
  });

  it('lets the console go when the client does', async () => {
    const daemon = await boot();
    const guest = echo();
    extend(daemon, { connectConsole: () => Promise.resolve(guest) });
    await daemon.create({ name: 'devbox' });
    const client = await openConsole(daemon);
    client.stream.destroy();
    await waitFor('the console to be free', () => guest.destroyed);
  });

  it('lets the console go when nobody comes for the stream', async () => {
    const daemon = await boot();
    const guest = echo();
    extend(daemon, { connectConsole: () => Promise.resolve(guest) });
    await daemon.create({ name: 'devbox' });
    const expirations: (() => void)[] = [];
    const { peer } = makePeer();
    await daemon.call('vm.console', { ref: 'devbox' }, { peer: { ...peer, offerStream: (_open, expired) => { if (expired) expirations.push(expired); return 't'; } } });
    expirations[0]!();
    expect(guest.destroyed).toBe(true);
    const another = echo();
    extend(daemon, { connectConsole: () => Promise.resolve(another) });
    const refused = daemon.call('vm.console', { ref: 'devbox' }, { peer: { ...peer, offerStream: () => { throw busy('The connection', 'too many'); } } });
    await expect(refused).rejects.toMatchObject({ code: 'busy' });
    expect(another.destroyed).toBe(true);
  });

  it('is refused by a stopped VM, by a driver without consoles, and as the driver says', async () => {
    const daemon = await boot();
    await daemon.create({ name: 'devbox' });
    await expect(daemon.call('vm.console', { ref: 'devbox' })).rejects.toMatchObject({ code: 'unsupported' });
    extend(daemon, { connectConsole: () => Promise.reject(busy('The console of devbox', 'somebody else is connected to it')) });
    await expect(daemon.call('vm.console', { ref: 'devbox' })).rejects.toMatchObject({ code: 'busy' });
    await daemon.call('vm.kill', { ref: 'devbox' });
    await expect(daemon.call('vm.console', { ref: 'devbox' })).rejects.toMatchObject({ code: 'not_running' });
  });

  it('waits for the VMM of a VM that is starting, and gives up when the start has failed', async () => {
    const daemon = await boot();
    let tries = 0;
    extend(daemon, { connectConsole: async (vm: Vm) => {
      tries += 1;
      if (tries < 3) throw notRunning(vm.name, 'its VMM does not listen');
      return echo();
    } });
    const vm = await daemon.create({ name: 'devbox' });
    daemon.store.vms.update(vm.id, { activity: 'starting' });
    await openConsole(daemon);
    expect(tries).toBe(3);
    tries = -1_000_000;
    const given = daemon.call('vm.console', { ref: 'devbox' });
    given.catch(() => undefined);
    await waitFor('a try', () => tries > -1_000_000);
    daemon.store.vms.update(vm.id, { activity: undefined });
    await expect(given).rejects.toMatchObject({ code: 'not_running' });
  });
});

describe('vm.logs', () => {
  const logs = (daemon: TestDaemon, boot?: number): Promise<VmLogsResult> => daemon.call('vm.logs', { ref: 'devbox', ...(boot === undefined ? {} : { boot }) });

  /** Boots 4, 5 and 7 with one file each. */
  async function withBoots(): Promise<TestDaemon> {
    const daemon = await boot();
    await daemon.create({ name: 'devbox' });
    extend(daemon, { consoleBoots: (vm): readonly ConsoleBoot[] => [4, 5, 7].map((number) => {
      mkdirSync(`${vm.dir}/console`, { recursive: true });
      writeFileSync(`${vm.dir}/console/${number}.log`, 'x'.repeat(number));
      return { boot: number, files: [`${vm.dir}/console/${number}.log`] };
    }) });
    return daemon;
  }

  it.each([[undefined, 7], [0, 7], [-1, 5], [-2, 4], [4, 4], [5, 5], [7, 7]])('boot %s is boot %i', async (wanted, found) => {
    const daemon = await withBoots();
    const result = await logs(daemon, wanted);
    expect(result).toMatchObject({ boot: found, grows: true, boots: [{ boot: 4, bytes: 4 }, { boot: 5, bytes: 5 }, { boot: 7, bytes: 7 }] });
    expect(result.files).toEqual([expect.stringMatching(new RegExp(`/${found}\\.log$`))]);
  });

  it.each([1, 6, 8, -3])('there is no boot %i', async (wanted) => {
    const daemon = await withBoots();
    await expect(logs(daemon, wanted)).rejects.toMatchObject({ code: 'not_found', message: `VM devbox has no console log of boot ${wanted}: kept are those of boot 4 to 7` });
  });

  it('a VM that does not run keeps its logs, which do not grow', async () => {
    const daemon = await withBoots();
    await daemon.call('vm.kill', { ref: 'devbox' });
    expect(await logs(daemon)).toMatchObject({ boot: 7, grows: false });
  });

  it('a VM that never ran has none, and a driver that knows no boots has one', async () => {
    const daemon = await boot();
    const vm = await daemon.create({ name: 'devbox', start: false });
    extend(daemon, { consoleLogs: () => [`${daemon.paths.vmDir(vm.id)}/mine.log`] });
    expect(await logs(daemon)).toEqual({ files: [], boots: [], grows: false });
    await expect(logs(daemon, 1)).rejects.toMatchObject({ code: 'not_found' });
    mkdirSync(daemon.paths.vmDir(vm.id), { recursive: true });
    writeFileSync(`${daemon.paths.vmDir(vm.id)}/mine.log`, 'abc');
    expect(await logs(daemon, 1)).toMatchObject({ boot: 1, boots: [{ boot: 1, bytes: 3 }] });
  });
});
