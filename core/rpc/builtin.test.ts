import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { method, startRpc } from '../../test/support/rpc-fixture.ts';
import { protocolVersion } from '../api.ts';
import type { OpenRpcDocument } from './discover.ts';

describe('rpc.hello', () => {
  test('tells protocol, build, version, pid and idleness', async () => {
    const { connect } = await startRpc();
    const client = await connect();
    expect(await client.call('rpc.hello', { protocol: '1.99', build: 'x' })).toEqual(
      { protocol: protocolVersion, build: 'b1', version: '9.9.9', pid: process.pid, idle: true });
  });

  test('refuses another major, tells what the daemon is, and answers nothing else on that connection', async () => {
    let calls = 0;
    const { raw } = await startRpc({ 'test.count': method(() => (calls += 1)) });
    const client = await raw();
    // In one write: the call must not slip through behind the refused hello.
    client.send('{"jsonrpc":"2.0","id":1,"method":"rpc.hello","params":{"protocol":"2.0","build":"x"}}\n{"jsonrpc":"2.0","id":2,"method":"test.count"}\n');
    const replies = [await client.nextReply(), await client.nextReply()];
    expect(replies.map((reply) => reply.error?.data.code)).toEqual(['bad_version', 'bad_version']);
    expect(replies[0]?.error?.data.detail).toEqual({ protocol: protocolVersion, build: 'b1', version: '9.9.9', pid: process.pid, idle: true });
    expect((await client.ask('test.count')).error?.data.code).toBe('bad_version');
    expect(calls).toBe(0);
    expect(await (await raw()).ask('test.count')).toMatchObject({ result: 1 });
  });

  test.each([{}, { protocol: 'one', build: 'x' }, { protocol: '1.0' }, { protocol: '1', build: 'x' }])('refuses %j as bad_request', async (params) => {
    const { raw } = await startRpc();
    expect((await (await raw()).ask('rpc.hello', params)).error?.data.code).toBe('bad_request');
  });
});

describe('rpc.discover', () => {
  const params = z.strictObject({
    name: z.string().min(1).max(5).describe('A name'),
    count: z.int().min(1).default(1),
    mode: z.enum(['a', 'b']).optional(),
    port: z.string().transform(Number).optional(),
  });
  const discover = async (): Promise<OpenRpcDocument> => {
    const { connect } = await startRpc({
      'test.make': method(() => ({ id: 'x' }), { params, result: z.strictObject({ id: z.string() }), effect: 'write', operation: 'test.make', errors: ['test.full'], summary: 'Makes' }),
    });
    return await (await connect()).call('rpc.discover', {});
  };

  test('describes every method, those of the protocol included, by name', async () => {
    const document = await discover();
    expect(document.openrpc).toBe('1.3.2');
    expect(document.info).toEqual({ title: 'bangerd', version: '9.9.9' });
    expect(document.methods.map((entry) => entry.name)).toEqual(['ping', 'rpc.discover', 'rpc.hello', 'test.make']);
    expect(document.methods.at(-1)).toMatchObject({
      summary: 'Makes', paramStructure: 'by-name', 'x-effect': 'write', 'x-operation': 'test.make', 'x-owner': 'test',
      errors: [{ code: -32000, message: 'test.full', data: { code: 'test.full' } }],
    });
  });

  test('has JSON schemas that judge as the daemon does', async () => {
    const document = await discover();
    const made = document.methods.find((entry) => entry.name === 'test.make');
    const schemas = new Map(made?.params.map((param) => [param.name, z.fromJSONSchema(param.schema)]));
    expect(made?.params.map((param) => [param.name, param.required])).toEqual([['name', true], ['count', false], ['mode', false], ['port', false]]);
    const judge = (name: string, value: unknown): boolean => schemas.get(name)?.safeParse(value).success ?? false;
    expect([judge('name', 'abc'), judge('name', ''), judge('name', 'toolong'), judge('name', 1)]).toEqual([true, false, false, false]);
    expect([judge('count', 2), judge('count', 0), judge('count', 1.5)]).toEqual([true, false, false]);
    expect([judge('mode', 'a'), judge('mode', 'c')]).toEqual([true, false]);
    // What a client sends is the text before the transform.
    expect([judge('port', '80'), judge('port', 80)]).toEqual([true, false]);
    const result = z.fromJSONSchema(made?.result.schema as Parameters<typeof z.fromJSONSchema>[0]);
    expect([result.safeParse({ id: 'x' }).success, result.safeParse({ id: 1 }).success, result.safeParse({ id: 'x', more: 1 }).success]).toEqual([true, false, false]);
  });

  test('names only schema types that JSON Schema knows, everywhere', async () => {
    const known = new Set(['string', 'number', 'integer', 'boolean', 'object', 'array', 'null']);
    const types: unknown[] = [];
    const walk = (value: unknown): void => {
      if (Array.isArray(value)) return value.forEach(walk);
      if (typeof value !== 'object' || value === null) return;
      for (const [key, inner] of Object.entries(value)) {
        if (key === 'type' && typeof inner === 'string') types.push(inner);
        else walk(inner);
      }
    };
    for (const entry of (await discover()).methods) {
      entry.params.forEach((param) => walk(param.schema));
      walk(entry.result.schema);
    }
    expect(types.length).toBeGreaterThan(5);
    expect(types.filter((type) => !known.has(type as string))).toEqual([]);
  });
});
