import { createServer } from 'node:http';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { notFound, notRunning, operationFailed, wrongState } from '../../../core/plugin-api.ts';
import type { CallContext, GuestAgent, Vm } from '../../../core/plugin-api.ts';
import type { PortForward, PortForwards } from '../../usernet/capability.ts';
import type { ListenerSnapshot } from '../capability.ts';
import { portsMethod } from './method.ts';
import type { PortsDeps } from './method.ts';
import { portsResult } from './schema.ts';
import type { z } from 'zod';

const vm = (name: string): Vm => ({ id: name.padEnd(12, '0'), name } as Vm);
const all = ['one', 'two', 'down', 'still', 'odd'].map(vm);
const listening = (...ports: number[]): ListenerSnapshot => ({ more: 0, listeners: ports.map((port) => ({ protocol: 'tcp', address: '0.0.0.0', port, uid: 0 })) });
const forward = (port: number): PortForward => ({ protocol: 'tcp', address: '127.70.0.1', hostPort: port, guestPort: port, guestHost: '127.0.0.1', source: 'auto' });

interface Changes { readonly list?: PortsDeps['listeners']['list']; readonly dial?: GuestAgent['dial']; readonly forwarded?: readonly number[]; readonly limits?: PortsDeps['limits'] }
async function ask(params: { readonly refs?: string[]; readonly probe?: boolean }, changes: Changes = {}): Promise<z.output<typeof portsResult>['vms']> {
  const forwards = { list: () => (changes.forwarded ?? []).map(forward), unforwarded: () => [] } as unknown as PortForwards;
  const method = portsMethod({
    vms: {
      list: () => all, isRunning: (id) => !id.startsWith('down'),
      resolve: (ref) => all.find(({ name }) => name === ref) ?? (() => { throw notFound('VM', ref); })(),
      running: async (id) => {
        const found = all.find((one) => one.id === id)!;
        if (found.name === 'down') throw notRunning('down', 'it has not been started');
        return found;
      },
    },
    agent: { dial: changes.dial ?? (() => Promise.reject(operationFailed('refused'))) },
    host: { slowdown: 1 }, forwards, limits: changes.limits ?? { probeMs: 20_000, allMs: 20_000 },
    listeners: { list: changes.list ?? (async ({ name }) => {
      if (name === 'still') throw wrongState('still', 'paused', 'running');
      if (name === 'odd') throw operationFailed('the guest of odd answers nonsense');
      return listening(name === 'one' ? 80 : 81);
    }) },
  });
  const call = { signal: AbortSignal.timeout(20_000) } as CallContext;
  return portsResult.parse(await method.handler(method.params.parse(params), call)).vms;
}

test('asks every running VM, and one that cannot answer says why, whatever the others do', async () => {
  expect(await ask({ probe: false })).toEqual([
    { vm: { id: 'one000000000', name: 'one' }, more: 0, ports: [{ protocol: 'tcp', port: 80, addresses: ['0.0.0.0'], why: 'not forwarded; banger vm port add one 80' }] },
    { vm: { id: 'two000000000', name: 'two' }, more: 0, ports: [{ protocol: 'tcp', port: 81, addresses: ['0.0.0.0'], why: 'not forwarded; banger vm port add two 81' }] },
    { vm: { id: 'still0000000', name: 'still' }, more: 0, ports: [], error: { code: 'wrong_state', message: 'VM still is paused, not running' } },
    { vm: { id: 'odd000000000', name: 'odd' }, more: 0, ports: [], error: { code: 'operation_failed', message: 'the guest of odd answers nonsense' } },
  ]);
});

test('one that does not run is not_running, and each VM is asked once', async () => {
  expect((await ask({ refs: ['down', 'two', 'down'], probe: false })).map(({ vm: { name }, error }) => [name, error?.code])).toEqual([['down', 'not_running'], ['two', undefined]]);
  await expect(ask({ refs: ['nobody'] })).rejects.toMatchObject({ code: 'not_found' });
});

test('asks all at once', async () => {
  let waiting = 0;
  const together = Promise.withResolvers<void>();
  const answer = await ask({ refs: ['one', 'two', 'odd'] }, { list: async () => {
    waiting += 1;
    if (waiting === 3) together.resolve();
    await together.promise;
    return listening();
  } });
  expect(answer).toHaveLength(3);
});

test('a forwarded port that speaks http has a link, through the agent', async () => {
  const server = createServer((_, response) => response.end('hello'));
  onTestFinished(() => { server.close(); });
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const { port } = server.address() as { port: number };
  const [one] = await ask({ refs: ['one'] }, {
    forwarded: [port], list: () => Promise.resolve(listening(port, 1)),
    dial: (_, to) => new Promise((resolve, reject) => {
      const socket: Socket = connect(to as { host: string; port: number }, () => resolve(socket));
      socket.once('error', reject);
    }),
  });
  expect(one?.ports.map(({ port: number, url }) => [number, url])).toEqual([[1, undefined], [port, `http://127.70.0.1:${port}/`]]);
});

test('ports that never answer cost a bounded time, four at once', async () => {
  const ports = Array.from({ length: 100 }, (_, n) => 1000 + n);
  let now = 0;
  let most = 0;
  let dials = 0;
  const [one] = await ask({ refs: ['one'] }, {
    forwarded: ports, list: () => Promise.resolve(listening(...ports)), limits: { probeMs: 50, allMs: 200 },
    dial: (_, __, signal) => new Promise((_resolve, reject) => {
      dials += 1;
      now += 1;
      most = Math.max(most, now);
      signal.addEventListener('abort', () => { now -= 1; reject(operationFailed('given up')); });
    }),
  });
  expect(one?.ports).toHaveLength(100);
  expect(most).toBe(4);
  // A hundred of them one after another would be a hundred dials.
  expect(dials).toBeLessThan(100);
});
