import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { RpcMethod } from '../plugin-api.ts';
import { createRegistry } from './registry.ts';

const withParams = (params: z.ZodType): RpcMethod => ({ summary: 's', effect: 'read', params, result: z.any(), handler: () => ({}) });
const plain = withParams(z.strictObject({}));

describe('createRegistry', () => {
  test('names both owners of a name that is registered twice, and keeps the first', () => {
    const registry = createRegistry();
    registry.register('nat', 'nat.list', plain);
    expect(() => registry.register('other', 'nat.list', { ...plain, summary: 'mine' })).toThrow(/nat\.list.*nat.*other/);
    expect(registry.get('nat.list')?.owner).toBe('nat');
    expect(registry.get('nat.list')?.method.summary).toBe('s');
  });

  test('takes nothing after the freeze', () => {
    const registry = createRegistry();
    registry.freeze();
    expect(registry.frozen).toBe(true);
    expect(() => registry.register('late', 'late.call', plain)).toThrow(/late\.call of late.*frozen/);
    expect(registry.list()).toEqual([]);
  });

  test.each(['', 'rpc.hello', 'Vm.list', 'vm..list', 'vm.', '.list', 'vm list', '__proto__'])('refuses the name %j', (name) => {
    expect(() => createRegistry().register('x', name, plain)).toThrow(/of x/);
  });

  test('lists by name', () => {
    const registry = createRegistry();
    for (const name of ['vm.show', 'image.list', 'ping', 'vm.create.begin']) registry.register('core', name, plain);
    expect(registry.list().map((entry) => entry.name)).toEqual(['image.list', 'ping', 'vm.create.begin', 'vm.show']);
  });

  test('refuses params that let unknown fields through, wherever the object hides', () => {
    const lax = z.object({ a: z.string() });
    const strict = z.strictObject({ a: z.string() });
    for (const params of [lax, lax.optional(), lax.transform((v) => v), z.union([strict, lax]), z.looseObject({}), z.string(), z.any()]) {
      expect(() => createRegistry().register('x', 'x.y', withParams(params))).toThrow(/strictObject/);
    }
    for (const params of [strict, strict.default({ a: '' }), strict.transform((v) => v), z.union([strict, z.strictObject({})]), strict.refine(() => true)]) {
      createRegistry().register('x', 'x.y', withParams(params));
    }
  });
});
