import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { method, startRpc } from '../../test/support/rpc-fixture.ts';
import { waitFor } from '../../test/support/wait.ts';
import type { CallContext } from '../plugin-api.ts';
import type { OperationRunner } from './dispatch.ts';

const opId = /^op-[a-z2-7]{8}$/;

describe('params', () => {
  test('are refused with every issue at once, before the handler runs', async () => {
    let runs = 0;
    const { raw } = await startRpc({
      'test.make': method(() => (runs += 1), { params: z.strictObject({ name: z.string().min(1), vcpu: z.int().min(1), tags: z.array(z.string()).default([]) }) }),
    });
    const client = await raw();
    const { error } = await client.ask('test.make', { name: '', vcpu: 0, tags: ['a', 1], extra: true });
    expect(error).toMatchObject({ code: -32602, data: { code: 'bad_request', opId: expect.stringMatching(opId) as string } });
    const issues = error?.data.detail?.['issues'] as { path: string; message: string }[];
    expect(issues.map((issue) => issue.path).sort()).toEqual(['', 'name', 'tags.1', 'vcpu']);
    expect(error?.message).toContain('extra');
    expect(runs).toBe(0);
  });

  test('may be absent where all are optional, and reach the handler parsed', async () => {
    const { raw } = await startRpc({ 'test.echo': method((params) => params, { params: z.strictObject({ count: z.int().default(3) }) }) });
    const client = await raw();
    expect(await client.ask('test.echo')).toMatchObject({ result: { count: 3 } });
    expect(await client.ask('test.echo', { count: 5 })).toMatchObject({ result: { count: 5 } });
  });
});

describe('results', () => {
  test('that the schema refuses become an internal error and a log line', async () => {
    const { raw, log } = await startRpc({ 'test.wrong': method(() => ({ id: 7, secret: 's' }), { result: z.strictObject({ id: z.string() }) }) });
    const reply = await (await raw()).ask('test.wrong');
    expect(reply.error).toMatchObject({ message: 'internal error', data: { code: 'internal', opId: expect.stringMatching(opId) as string } });
    expect(JSON.stringify(reply)).not.toContain('secret');
    expect(log.filter((line) => line.level === 'error').map((line) => (line.fields['err'] as Error).message)).toEqual([expect.stringContaining('test.wrong')]);
  });

  test('of any length arrive whole', async () => {
    const text = 'ä'.repeat(3_000_000);
    const { connect } = await startRpc({ 'test.long': method(() => ({ text })) });
    const result = await (await connect()).callAny('test.long', {}) as { text: string };
    expect(result.text === text).toBe(true);
  });
});

describe('the call context', () => {
  test('has an op id of its own per call, on its log lines and in its error', async () => {
    const { raw, log } = await startRpc({ 'test.log': method((_params, call: CallContext) => (call.log.info('here'), { opId: call.opId })) });
    const client = await raw();
    const first = await client.ask('test.log');
    const second = await client.ask('test.log');
    expect(first.result.opId).toMatch(opId);
    expect(first.result.opId).not.toBe(second.result.opId);
    expect(log.filter((line) => line.message === 'here').map((line) => line.fields['opId'])).toEqual([first.result.opId, second.result.opId]);
    expect((await client.ask('test.none')).error?.data.opId).toMatch(opId);
  });

  test('may be copied with members replaced', async () => {
    const { raw } = await startRpc({
      'test.copy': method((_params, call: CallContext) => {
        const copy: CallContext = { ...call, stage: () => {} };
        return { same: copy.opId === call.opId && copy.signal === call.signal && copy.peer === call.peer };
      }),
    });
    expect(await (await raw()).ask('test.copy')).toMatchObject({ result: { same: true } });
  });
});

describe('unknown methods', () => {
  test('are told from known ones by code and number', async () => {
    const { raw } = await startRpc();
    const client = await raw();
    expect((await client.ask('vm.fly')).error).toMatchObject({ code: -32601, message: 'Unknown method vm.fly', data: { code: 'unknown_method' } });
    for (const name of ['__proto__', 'constructor', 'toString']) expect((await client.ask(name)).error?.code).toBe(-32601);
    expect((await client.ask('x'.repeat(100_000))).error?.message.length).toBeLessThan(200);
  });
});

describe('operations', () => {
  test('run through the runner, which may replace context and sees failure', async () => {
    const seen: unknown[] = [];
    const operationRunner: OperationRunner = async (about, params, call, run) => {
      seen.push(about, params, call.opId);
      try {
        return await run({ ...call, stage: (name) => seen.push(`stage ${name}`) });
      } catch (error) {
        seen.push((error as Error).message);
        throw error;
      }
    };
    const { raw } = await startRpc({
      'test.op': method(({ value }: { value?: unknown }, call: CallContext) => {
        call.stage('boot');
        if (value === 'fail') throw new Error('inner');
        return { opId: call.opId };
      }, { operation: 'test.kind', effect: 'write' }),
    }, { operationRunner });
    const client = await raw();
    const reply = await client.ask('test.op', { value: 1 });
    expect(seen).toEqual([{ name: 'test.op', kind: 'test.kind' }, { value: 1 }, reply.result.opId, 'stage boot']);
    expect((await client.ask('test.op', { value: 'fail' })).error?.message).toBe('internal error');
    expect(seen.at(-1)).toBe('inner');
    await client.ask('ping');
    expect(seen).toHaveLength(9);
  });
});

describe('cancellation', () => {
  const waiting = (effect: 'read' | 'write', aborted: string[]): ReturnType<typeof method> => method((_params, call: CallContext) =>
    new Promise((_resolve, reject) => {
      call.stage('waiting');
      call.signal.addEventListener('abort', () => {
        aborted.push(effect);
        reject(call.signal.reason as Error);
      });
    }), { effect });

  test('ends a call of either effect on request, with `cancelled`', async () => {
    const aborted: string[] = [];
    const { raw } = await startRpc({ 'test.read': waiting('read', aborted), 'test.write': waiting('write', aborted) });
    const client = await raw();
    for (const name of ['test.read', 'test.write']) {
      const reply = client.ask(name, {}, name);
      await waitFor('progress', () => client.replies.some((notice) => notice.params?.['id'] === name));
      client.send(`{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":"${name}"}}\n`);
      expect((await reply).error).toMatchObject({ code: -32000, data: { code: 'cancelled' } });
    }
    expect(aborted).toEqual(['read', 'write']);
  });

  test('of unknown, finished or nonsensical ids is ignored', async () => {
    const { raw } = await startRpc();
    const client = await raw();
    for (const params of ['{"id":77}', '{}', '{"id":{}}', '{"id":null}']) client.send(`{"jsonrpc":"2.0","method":"rpc.cancel","params":${params}}\n`);
    client.send('{"jsonrpc":"2.0","method":"rpc.cancel"}\n{"jsonrpc":"2.0","method":"unheard.of"}\n');
    expect(await client.ask('ping')).toMatchObject({ result: { pong: true } });
    expect(client.replies).toHaveLength(1);
  });

  test('comes to reads, not to writes, when the client goes away', async () => {
    const aborted: string[] = [];
    const { raw, server } = await startRpc({ 'test.read': waiting('read', aborted), 'test.write': waiting('write', aborted) });
    const client = await raw();
    client.send('{"jsonrpc":"2.0","id":1,"method":"test.read"}\n{"jsonrpc":"2.0","id":2,"method":"test.write"}\n');
    await waitFor('both calls', () => client.replies.length === 2);
    client.close();
    await waitFor('the client to be gone', () => server.clients() === 0);
    expect(aborted).toEqual(['read']);
    expect(server.stats().calls).toBe(1);
    await server.close();
    expect(aborted).toEqual(['read', 'write']);
  });

  test('shows as `cancelled` whatever the handler makes of the abort', async () => {
    const { raw } = await startRpc({
      'test.abort': method((_params, call: CallContext) => new Promise((_resolve, reject) => {
        call.stage('waiting');
        call.signal.addEventListener('abort', () => reject(new Error('wrapped', { cause: new DOMException('aborted', 'AbortError') })));
      })),
    });
    const client = await raw();
    const reply = client.ask('test.abort', {}, 5);
    await waitFor('progress', () => client.replies.length === 1);
    client.send('{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":5}}\n');
    expect((await reply).error?.data.code).toBe('cancelled');
  });

  test('before the handler asks for the signal is not lost', async () => {
    const gate = Promise.withResolvers<void>();
    const { raw } = await startRpc({
      'test.late': method(async (_params, call: CallContext) => {
        call.stage('waiting');
        await gate.promise;
        return { aborted: call.signal.aborted };
      }),
      'test.open': method(() => gate.resolve()),
    });
    const client = await raw();
    const reply = client.ask('test.late', {}, 5);
    await waitFor('progress', () => client.replies.length === 1);
    client.send('{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":5}}\n');
    await client.ask('test.open');
    expect((await reply).result).toEqual({ aborted: true });
  });
});
