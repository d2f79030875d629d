import { expect, test } from 'vitest';
import { notFound, notRunning, operationFailed } from '../../core/plugin-api.ts';
import type { CallContext, StartContext, Vm } from '../../core/plugin-api.ts';
import { portMethods } from './methods.ts';
import type { PortMethods } from './methods.ts';
import { createPortsByVm } from './ports-by-vm.ts';
import { listResult } from './schema.ts';
import { ScriptedListeners, addressOf, freePort, limit, listening, log, realForwards, testVm } from './testing/guest.ts';

const call = { signal: AbortSignal.timeout(60_000) } as CallContext;

async function world(): Promise<{ readonly devbox: Vm; readonly methods: PortMethods; readonly listeners: ScriptedListeners; closeAll(): Promise<void> }> {
  const [devbox, old, down] = [testVm('devbox'), testVm('old'), testVm('down')];
  const all = [devbox, old, down];
  const forwards = await realForwards([devbox, old]);
  const listeners = new ScriptedListeners();
  const ports = createPortsByVm({
    listeners, forwards, log, address: addressOf, hostAccess: [], askLimitMs: 5000, use: { hold: () => () => undefined },
    agent: { listen: () => Promise.reject(operationFailed('no')) },
  });
  await ports.step.run({ vm: devbox, touched: () => Promise.resolve() } as StartContext, { file: '' });
  const resolve = (ref: string): Vm => all.find(({ name, id }) => name === ref || id === ref) ?? (() => { throw notFound('VM', ref); })();
  const methods = portMethods({
    ports, forwards, address: addressOf,
    vms: {
      resolve, list: () => all, isRunning: (id) => id !== down.id,
      running: async (ref) => { if (resolve(ref) === down) throw notRunning('down', 'it has not been started'); return resolve(ref); },
    },
  });
  return { devbox, methods, listeners, closeAll: ports.closeAll };
}

test('add, list and rm, as clients call them', async () => {
  const { devbox, methods, listeners, closeAll } = await world();
  const [host, auto] = [await freePort(addressOf(devbox)), await freePort(addressOf(devbox))];
  listeners.say(listening(auto));
  const added = await methods['vm.port.add'].handler({ ref: 'devbox', guestPort: 80, hostPort: host }, call);
  expect(added.forward).toMatchObject({ protocol: 'tcp', hostPort: host, guestPort: 80, source: 'added' });
  const list = async (refs?: string[]) => listResult.parse(await methods['vm.port.list'].handler(refs === undefined ? {} : { refs }, call)).vms;
  await expect.poll(async () => (await list(['devbox']))[0]?.forwards.map(({ hostPort, source }) => `${hostPort} ${source}`).sort(), limit).toEqual([`${host} added`, `${auto} auto`].sort());
  expect((await list(['devbox', 'devbox']))[0]).toMatchObject({ vm: { name: 'devbox' }, address: addressOf(devbox), auto: true, unforwarded: [], notices: [] });
  await methods['vm.port.rm'].handler({ ref: 'devbox', hostPort: host }, call);
  expect((await list(['devbox']))[0]?.forwards).toHaveLength(1);
  await closeAll();
});

test('a VM that does not run is not_running; one from before has no ports that change, and is listed', async () => {
  const { methods, closeAll } = await world();
  await expect(methods['vm.port.add'].handler({ ref: 'down', guestPort: 80 }, call)).rejects.toMatchObject({ code: 'not_running' });
  await expect(methods['vm.port.add'].handler({ ref: 'old', guestPort: 80 }, call)).rejects.toMatchObject({ code: 'unsupported', hint: 'banger vm restart old' });
  await expect(methods['vm.port.list'].handler({ refs: ['nobody'] }, call)).rejects.toMatchObject({ code: 'not_found' });
  const { vms } = await methods['vm.port.list'].handler({ refs: ['down', 'old'] }, call) as { vms: { vm: { name: string }; error?: { code: string }; auto: boolean }[] };
  expect(vms.map(({ vm, error, auto }) => [vm.name, error?.code, auto])).toEqual([['down', 'not_running', false], ['old', undefined, false]]);
  const running = await methods['vm.port.list'].handler({}, call) as { vms: { vm: { name: string } }[] };
  expect(running.vms.map(({ vm }) => vm.name)).toEqual(['devbox', 'old']);
  await closeAll();
});

test.each([
  [{ ref: 'x', guestPort: 0 }], [{ ref: 'x', guestPort: 65_536 }], [{ ref: 'x', guestPort: 1.5 }], [{ ref: 'x' }], [{ ref: '', guestPort: 1 }],
  [{ ref: 'x', guestPort: 1, address: '::1' }], [{ ref: 'x', guestPort: 1, address: 'localhost' }], [{ ref: 'x', guestPort: 1, protocol: 'sctp' }], [{ ref: 'x', guestPort: 1, guestHost: '10.0.0.1' }],
])('refuses %j', async (params) => {
  const { methods, closeAll } = await world();
  expect(methods['vm.port.add'].params.safeParse(params).success).toBe(false);
  await closeAll();
});
