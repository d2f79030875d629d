// What json-rpc-2.0 does by default, held against our wrapper: first that the package still does it, then that we do not.
import { JSONRPCServer } from 'json-rpc-2.0';
import { describe, expect, test, vi } from 'vitest';
import { method, startRpc } from '../../test/support/rpc-fixture.ts';
import { BangerError } from '../errors.ts';
import { createRpcEngine } from './peer.ts';
import { internalErrorBody } from './wire-error.ts';

const engine = (): ReturnType<typeof createRpcEngine<undefined>> => createRpcEngine<undefined>({
  errorBody: () => internalErrorBody('op-x'), unknownMethod: () => internalErrorBody('op-x'), checkResult: () => {},
});

describe('json-rpc-2.0 behind our wrapper', () => {
  test('a method does not silently replace another', async () => {
    const server = new JSONRPCServer();
    server.addMethod('a', () => 1);
    server.addMethod('a', () => 2);
    expect(await server.receive({ jsonrpc: '2.0', id: 1, method: 'a' })).toMatchObject({ result: 2 });

    const ours = engine();
    ours.add('a', async () => 1);
    expect(() => ours.add('a', async () => 2)).toThrow(/already/);
    expect(JSON.parse(await ours.receive({ kind: 'request', id: 1, method: 'a', params: {} }, undefined))).toMatchObject({ result: 1 });
  });

  test('an error has neither code 0 nor its message on the wire, and nothing goes to the console', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
    try {
      const server = new JSONRPCServer();
      server.addMethod('a', () => { throw new Error('password 123'); });
      expect(await server.receive({ jsonrpc: '2.0', id: 1, method: 'a' })).toMatchObject({ error: { code: 0, message: 'password 123' } });
      expect(warn).toHaveBeenCalledTimes(1);
      warn.mockClear();

      const { raw, log } = await startRpc({
        'test.broken': method(() => { throw new Error('password 123'); }),
        'test.expected': method(() => { throw new BangerError('not_found', 'No VM matches x', { hint: 'look', cause: new Error('password 123') }); }),
      });
      const client = await raw();
      const broken = await client.ask('test.broken');
      expect(broken.error).toMatchObject({ code: -32000, message: 'internal error', data: { code: 'internal' } });
      const expected = await client.ask('test.expected');
      expect(expected.error).toMatchObject({ code: -32000, message: 'No VM matches x', data: { code: 'not_found', hint: 'look' } });
      expect(JSON.stringify(client.replies)).not.toMatch(/password|stack|\.ts:/);
      expect(warn).not.toHaveBeenCalled();
      const logged = log.find((line) => line.level === 'error');
      expect(logged?.fields).toMatchObject({ opId: broken.error?.data.opId, method: 'test.broken' });
      expect(logged?.fields['err']).toHaveProperty('message', 'password 123');
    } finally {
      warn.mockRestore();
    }
  });

  test('[null] is refused and disturbs nobody', async () => {
    await expect((async () => new JSONRPCServer().receiveJSON('[null]'))()).rejects.toThrow(TypeError);
    const { raw } = await startRpc();
    const client = await raw();
    client.send('[null]\n');
    expect(await client.nextReply()).toMatchObject({ id: null, error: { code: -32600, data: { code: 'bad_request' } } });
    expect(await client.ask('ping')).toMatchObject({ result: { pong: true } });
  });

  test('a batch of one is refused as a batch', async () => {
    const { raw } = await startRpc();
    const client = await raw();
    client.send('[{"jsonrpc":"2.0","id":1,"method":"ping"}]\n');
    const reply = await client.nextReply();
    expect(reply).toMatchObject({ id: null, error: { code: -32600 } });
    expect(reply.error?.message).toMatch(/[Bb]atch/);
  });

  test.each(['null', '0', 'false', '""'])('the document %s is an invalid request, not a parse error', async (text) => {
    const { raw } = await startRpc();
    const client = await raw();
    client.send(`${text}\n`);
    expect(await client.nextReply()).toMatchObject({ id: null, error: { code: -32600 } });
  });

  test('a result that is no JSON becomes an internal error', async () => {
    const cycle: Record<string, unknown> = {};
    cycle['self'] = cycle;
    const { raw, log } = await startRpc({
      'test.cycle': method(() => cycle), 'test.big': method(() => ({ n: 1n })),
      'test.detail': method(() => { throw new BangerError('busy', 'Busy', { detail: { n: 1n } }); }),
      'test.nothing': method(() => undefined),
    });
    const client = await raw();
    for (const name of ['test.cycle', 'test.big', 'test.detail']) {
      expect((await client.ask(name)).error).toMatchObject({ code: -32000, message: 'internal error', data: { code: 'internal' } });
    }
    expect(await client.ask('test.nothing')).toMatchObject({ result: null });
    expect(log.filter((line) => line.level === 'error')).toHaveLength(3);
  });
});
