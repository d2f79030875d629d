import { expect, test } from 'vitest';
import { buildParts } from './container.ts';
import { createDisposer } from './dispose.ts';

interface Parts { readonly store: { readonly name: string }; readonly vms: { readonly store: unknown }; readonly server: { readonly vms: unknown } }

function build() {
  const made: string[] = [];
  const ended: string[] = [];
  const disposer = createDisposer();
  const parts = buildParts<Parts>({
    server: { make: ({ vms }) => { made.push('server'); return { vms }; }, dispose: async () => { await new Promise(setImmediate); ended.push('server'); } },
    store: { make: () => { made.push('store'); return { name: 's' }; }, dispose: (store) => void ended.push(`store ${store.name}`) },
    vms: { make: ({ store }) => { made.push('vms'); return { store }; } },
  }, disposer);
  return { made, ended, disposer, parts };
}

test('makes each part once, when it is first needed', () => {
  const { made, parts } = build();
  expect(made).toEqual([]);
  expect(parts.server.vms).toBe(parts.vms);
  expect(parts.vms.store).toBe(parts.store);
  expect(made).toEqual(['store', 'vms', 'server']);
});

test('ends what was made, the last first, and nothing that was not', async () => {
  const { ended, disposer, parts } = build();
  expect(parts.server).toBeDefined();
  await disposer.close();
  expect(ended).toEqual(['server', 'store s']);

  const other = build();
  expect(other.parts.vms).toBeDefined();
  await other.disposer.close();
  expect(other.ended).toEqual(['store s']);
});

test('names the path of a cycle', () => {
  const parts = buildParts<{ a: unknown; b: unknown }>({ a: { make: ({ b }) => ({ b }) }, b: { make: ({ a }) => ({ a }) } }, createDisposer());
  expect(() => parts.a).toThrow(/a -> b -> a/);
});
