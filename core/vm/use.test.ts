import { expect, test } from 'vitest';
import { createManualClock } from '../clock.ts';
import type { Vms } from '../capabilities.ts';
import type { Vm } from '../model.ts';
import { createVmUse } from './use.ts';

type Listener = Parameters<Vms['onChange']>[0];
function world() {
  let tell: Listener = () => undefined;
  const clock = createManualClock(1_000_000);
  const use = createVmUse({ onChange: (listener) => { tell = listener; return () => undefined; } }, clock);
  return { clock, use, change: (kind: Parameters<Listener>[0]['kind']) => tell({ kind, vm: { id: 'a' } as Vm }) };
}

test('a VM counts as used when the daemon begins, when it is touched, and when it starts', () => {
  const { clock, use, change } = world();
  clock.advance(500);
  expect(use.of('a')).toEqual({ lastUsedAt: 1_000_000, holds: [] });
  use.touch('a');
  clock.advance(70);
  expect([use.of('a').lastUsedAt, use.unusedMs('a')]).toEqual([1_000_500, 70]);
  change('started');
  expect(use.unusedMs('a')).toBe(0);
});

test('a held VM is in use until the last hold is over, and that is a use, too', () => {
  const { clock, use } = world();
  const ends = [use.hold('a', 'ssh session'), use.hold('a', 'ssh session'), use.hold('a', 'command')];
  clock.advance(1_000);
  expect(use.of('a')).toEqual({ lastUsedAt: 1_001_000, holds: ['ssh session', 'ssh session', 'command'] });
  ends[0]!();
  ends[0]!();
  expect(use.of('a').holds).toEqual(['ssh session', 'command']);
  ends[1]!();
  ends[2]!();
  clock.advance(5);
  ends[2]!();
  expect(use.of('a')).toEqual({ lastUsedAt: 1_001_000, holds: [] });
  expect(use.unusedMs('a')).toBe(5);
});

test('nothing is kept of a deleted VM, whose holds may end later', () => {
  const { clock, use, change } = world();
  const end = use.hold('a', 'command');
  change('deleted');
  clock.advance(10);
  end();
  expect(use.of('a')).toEqual({ lastUsedAt: 1_000_000, holds: [] });
});
