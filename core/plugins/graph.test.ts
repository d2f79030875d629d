import { expect, test } from 'vitest';
import { capability } from '../plugin-api.ts';
import type { AnyCapability } from '../plugin-api.ts';
import { bootOrder, findConflicts, findUnsatisfied, formatCycle } from './graph.ts';
import type { GraphNode } from './graph.ts';

const caps = new Map<string, AnyCapability>();
const cap = (name: string): AnyCapability => {
  const found = caps.get(name) ?? capability(`${name}@1`, name.startsWith('many') ? 'many' : 'one');
  caps.set(name, found);
  return found;
};
const node = (name: string, parts: { needs?: string[]; may?: string[]; gives?: string[] } = {}): GraphNode => ({
  name, requires: (parts.needs ?? []).map(cap), optional: (parts.may ?? []).map(cap), provides: (parts.gives ?? []).map(cap),
});
const core = new Set(['exec@1']);

test('puts providers first and keeps the array order otherwise', () => {
  expect(bootOrder([
    node('z'), node('net', { needs: ['exec', 'agent'] }), node('a'), node('agent', { gives: ['agent'] }), node('b', { may: ['agent'] }),
  ])).toEqual({ order: ['z', 'a', 'agent', 'net', 'b'] });
});

test('puts every provider of a shared slot before its users', () => {
  expect(bootOrder([node('user', { needs: ['many-d'] }), node('one', { gives: ['many-d'] }), node('two', { gives: ['many-d'] })]))
    .toEqual({ order: ['one', 'two', 'user'] });
});

test('does not let a plugin wait for itself', () => {
  expect(bootOrder([node('a', { gives: ['many-d'], may: ['many-d'] })])).toEqual({ order: ['a'] });
});

test('reports a cycle from its first plugin back to it', () => {
  const result = bootOrder([
    node('free'), node('outside', { needs: ['x'] }), node('a', { needs: ['y'], gives: ['x'] }), node('b', { may: ['x'], gives: ['y'] }),
  ]);
  expect(result).toEqual({ cycle: ['a', 'b', 'a'] });
  expect(formatCycle(['a', 'b', 'a'])).toBe('a → b → a');
});

test('names both providers of a slot for one', () => {
  const conflicts = findConflicts({ core, nodes: [
    node('a', { gives: ['x', 'many-d'] }), node('b', { gives: ['many-d'] }), node('c', { gives: ['x', 'y'] }), node('d', { gives: ['y'] }), node('e', { gives: ['exec'] }),
  ] });
  expect([...conflicts]).toEqual([
    ['c', 'plugin a and plugin c both provide x@1'],
    ['e', 'core and plugin e both provide exec@1'],
  ]);
});

test('says who misses a provider, whether a disabled plugin would give it, and who fails with it', () => {
  const unsatisfied = findUnsatisfied({
    core,
    nodes: [node('leaf', { needs: ['mid'] }), node('mid', { needs: ['off'], gives: ['mid'] }), node('lost', { needs: ['nowhere'] }), node('fine', { needs: ['exec'], may: ['nowhere'] })],
    absent: [{ ...node('sleeper', { gives: ['off'] }), why: 'is disabled' }],
  });
  expect(Object.fromEntries(unsatisfied)).toEqual({
    mid: 'needs off@1; plugin sleeper provides it but is disabled',
    leaf: 'needs mid@1; plugin mid provides it but cannot run',
    lost: 'needs nowhere@1, which no plugin provides',
  });
});
