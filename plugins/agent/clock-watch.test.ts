import { expect, it, onTestFinished } from 'vitest';
import type { Vm } from '../../core/plugin-api.ts';
import { createClockWatch, hostClocks } from './clock-watch.ts';
import { quietLog, until } from './test-agent.ts';

function world() {
  const host = { bootMs: 9_000_000, awakeMs: 1_000_000 };
  const paused = new Set(['still']);
  const asked: string[] = [];
  let looks = 0;
  let failures = 0;
  const all = ['one', 'two', 'still', 'stopped'].map((id) => ({ id, name: id }) as Vm);
  const watch = createClockWatch({
    vms: {
      get: (id) => all.find((vm) => vm.id === id), list: () => all, isRunning: (id) => id !== 'stopped', isPaused: (id) => paused.has(id),
    },
    clocks: { bootMs: () => { looks += 1; return host.bootMs; }, awakeMs: () => host.awakeMs },
    sync: async (vm) => {
      asked.push(vm.id);
      if (failures-- > 0) throw new Error('no answer');
    },
    log: quietLog, lookMs: 1,
  });
  const control = new AbortController();
  const done = watch.run(control.signal);
  onTestFinished(async () => {
    control.abort();
    await done;
  });
  /** The watch has looked at the clocks a few times since. */
  const looked = async (): Promise<void> => {
    const from = looks;
    await until(() => looks > from + 3, 'the next looks');
  };
  return { host, paused, asked, watch, looked, fail: (times: number) => { failures = times; } };
}

it('looks at the clocks of all VMs that run once the host has slept, and not before', async () => {
  const { host, asked, looked } = world();
  host.bootMs += 5_000;
  host.awakeMs += 5_000;
  await looked();
  // The two are not read at the same moment, and one of them is coarse.
  host.bootMs += 900;
  await looked();
  expect(asked).toEqual([]);
  host.bootMs += 3_600_000;
  await looked();
  expect(asked.toSorted()).toEqual(['one', 'two']);
  await looked();
  expect(asked).toHaveLength(2);
});

it('looks at one that is due, and tries again a few times', async () => {
  const { asked, watch, looked, fail } = world();
  fail(2);
  watch.due('one');
  watch.due('still');
  watch.due('deleted');
  await until(() => asked.length === 3, 'the third try');
  await looked();
  expect(asked).toEqual(['one', 'one', 'one']);
  fail(100);
  watch.due('two');
  await until(() => asked.length === 6, 'the last try');
  await looked();
  expect(asked).toEqual(['one', 'one', 'one', 'two', 'two', 'two']);
});

it('looks at one that was due while it was paused once that is over, whoever ended it', async () => {
  const { host, paused, asked, watch, looked } = world();
  const still = { id: 'still', name: 'still' } as Vm;
  watch.due('still');
  await looked();
  expect(asked).toEqual([]);
  paused.clear();
  await until(() => asked.length === 1, 'the question');
  paused.add('still');
  host.bootMs += 3_600_000;
  await until(() => asked.includes('one') && asked.includes('two'), 'the questions to the others');
  asked.length = 0;
  paused.clear();
  await until(() => asked.length === 1, 'the question after the sleep');
  // What was put right meanwhile is not asked again.
  paused.add('still');
  watch.due('still');
  await watch.now(still, new AbortController().signal);
  paused.clear();
  await looked();
  expect(asked).toEqual(['still', 'still']);
});

it('asks at once where it is told to, and soon again where that failed', async () => {
  const { asked, watch, looked, fail } = world();
  const never = new AbortController().signal;
  const one = { id: 'one', name: 'one' } as Vm;
  await watch.now(one, never);
  await looked();
  expect(asked).toEqual(['one']);
  fail(2);
  await expect(watch.now(one, never)).rejects.toThrow('no answer');
  await until(() => asked.length === 4, 'the tries after it');
  await looked();
  expect(asked).toEqual(['one', 'one', 'one', 'one']);
});

it('asks one guest once at a time: two that measured the same would both put it right', async () => {
  const ends: ((fails: boolean) => void)[] = [];
  const watch = createClockWatch({
    vms: { get: () => undefined, list: () => [], isRunning: () => true, isPaused: () => false }, clocks: { bootMs: () => 0, awakeMs: () => 0 }, log: quietLog,
    sync: () => new Promise((resolve, reject) => { ends.push((fails) => fails ? reject(new Error('no answer')) : resolve()); }),
  });
  const ask = (id: string): Promise<string> => watch.now({ id, name: id } as Vm, new AbortController().signal).then(() => 'right', () => 'failed');
  const asked = [ask('one'), ask('one'), ask('two')];
  await until(() => ends.length === 2, 'one question for each guest');
  ends[1]!(false);
  expect(await asked[2]).toBe('right');
  expect(ends).toHaveLength(2);
  ends[0]!(true);
  await until(() => ends.length === 3, 'the next question');
  ends[2]!(false);
  expect(await Promise.all(asked)).toEqual(['failed', 'right', 'right']);
});

it("reads the host's clocks", () => {
  const ahead = hostClocks.bootMs() - hostClocks.awakeMs();
  // Read one after the other, and /proc/uptime counts hundredths of a second.
  expect(ahead).toBeGreaterThan(-1_000);
  expect(Number.isFinite(ahead)).toBe(true);
});
