import { expect, test } from 'vitest';
import { operationFailed } from '../../core/plugin-api.ts';
import type { Vm, VmTeardown } from '../../core/plugin-api.ts';
import { memoryLog } from '../../test/support/rpc-fixture.ts';
import type { LogLine } from '../../test/support/rpc-fixture.ts';
import { waitFor } from '../../test/support/wait.ts';
import { stopStale, watchStale } from './stale.ts';
import type { StaleDeps } from './stale.ts';
import { ownProcess } from './testing/world.ts';

interface Fake { readonly id: string; readonly unusedMs: number; readonly holds?: readonly string[]; readonly off?: true }
type Stop = VmTeardown['stopUnused'];

function staleWorld(fakes: readonly Fake[], stop: Stop): { readonly deps: StaleDeps; readonly stopped: string[]; readonly log: LogLine[] } {
  const stopped: string[] = [];
  const log: LogLine[] = [];
  const byId = new Map(fakes.map((fake) => [fake.id, fake]));
  return {
    stopped, log,
    deps: {
      afterMs: 7_200_000, now: () => 1e12, log: memoryLog(log),
      vms: { list: () => fakes.map(({ id }) => ({ id, name: id }) as Vm), process: (id) => (byId.get(id)?.off === true ? undefined : ownProcess()) },
      use: { of: (id) => ({ lastUsedAt: 1e12 - byId.get(id)!.unusedMs, holds: byId.get(id)!.holds ?? [] }) },
      teardown: {
        stopUnused: (id, options) => {
          stopped.push(id);
          return stop(id, options);
        },
      },
    },
  };
}
const signal = new AbortController().signal;
const old = 7_200_000;

test('stops what runs, is held by nobody and was unused for long enough, and says so in one line', async () => {
  const { deps, stopped, log } = staleWorld([
    { id: 'old', unusedMs: old }, { id: 'young', unusedMs: old - 1 }, { id: 'held', unusedMs: old, holds: ['ssh session'] }, { id: 'off', unusedMs: old, off: true },
  ], async (_, options) => {
    expect(options.unusedForMs).toBe(old);
    return 'stopped';
  });
  await stopStale(deps, new Set(), signal);
  expect(stopped).toEqual(['old']);
  expect(log.map(({ level, fields, message }) => [level, fields['vm'], message])).toEqual([['info', 'old', 'stopped: unused for 2 h']]);
});

test('one that is in use after all, and one whose stop fails, do not end the others', async () => {
  const outcomes: Record<string, Stop> = {
    busy: async () => 'in use', bad: async () => { throw operationFailed('It cannot be stopped'); }, gone: async () => 'not running', good: async () => 'stopped',
  };
  const { deps, log } = staleWorld(Object.keys(outcomes).map((id) => ({ id, unusedMs: old })), (id, options) => outcomes[id]!(id, options));
  const busy = new Set<string>();
  await stopStale(deps, busy, signal);
  expect(log.map(({ level, fields }) => [level, fields['vm']]).sort()).toEqual([['info', 'good'], ['warn', 'bad']]);
  expect(busy.size).toBe(0);
});

test('a stop that takes long is not begun twice, few go on at once, and others are still looked at', async () => {
  const gates: (() => void)[] = [];
  let atOnce = 0;
  let most = 0;
  const fakes: Fake[] = Array.from({ length: 10 }, (_, n) => ({ id: `vm${n}`, unusedMs: old }));
  const { deps, stopped } = staleWorld(fakes, async () => {
    atOnce += 1;
    most = Math.max(most, atOnce);
    await new Promise<void>((resolve) => { gates.push(resolve); });
    atOnce -= 1;
    return 'stopped';
  });
  const busy = new Set<string>();
  const first = stopStale(deps, busy, signal);
  await waitFor('the first stops', () => gates.length === 4);
  await stopStale(deps, busy, signal);
  expect(stopped).toHaveLength(4);
  for (let n = 0; n < 10; n += 1) (await waitFor(`stop ${n}`, () => gates[n]))();
  await first;
  expect([stopped.length, new Set(stopped).size, most]).toEqual([10, 10, 4]);
});

test('it looks again and again until it is told to end', async () => {
  const closing = new AbortController();
  const { deps, stopped } = staleWorld([{ id: 'old', unusedMs: old }], async () => 'in use');
  const ended = watchStale({ ...deps, afterMs: 4 }, closing.signal);
  await waitFor('two looks', () => stopped.length >= 2);
  closing.abort();
  await ended;
});

test('a look that fails is the task\'s failure, which is told and tried again, and no fault of the daemon', async () => {
  const { deps } = staleWorld([], async () => 'stopped');
  const vms = { ...deps.vms, list: () => { throw operationFailed('the database cannot be read'); } };
  await expect(watchStale({ ...deps, vms }, signal)).rejects.toThrow('the database cannot be read');
});
