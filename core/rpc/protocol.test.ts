import { describe, expect, test } from 'vitest';
import { LineReader, parseIncoming, rpcCode } from './protocol.ts';

const parse = (text: string): ReturnType<typeof parseIncoming> => parseIncoming(Buffer.from(text));

function allLines(reader: LineReader): string[] {
  const lines: string[] = [];
  for (let line = reader.next(); line !== undefined; line = reader.next()) lines.push(line.toString());
  return lines;
}

describe('LineReader', () => {
  test('gives the same lines however the bytes are cut', () => {
    const text = 'one\n\ntwo ü\nthree';
    const bytes = Buffer.from(text);
    for (let cut = 1; cut <= bytes.length; cut += 1) {
      const reader = new LineReader(100);
      const lines: string[] = [];
      for (let at = 0; at < bytes.length; at += cut) {
        reader.push(bytes.subarray(at, at + cut));
        lines.push(...allLines(reader));
      }
      expect(lines).toEqual(['one', '', 'two ü']);
      expect(reader.partialBytes).toBe(5);
    }
  });

  test('takes a line of exactly the limit and refuses one byte more', () => {
    const fits = new LineReader(8);
    fits.push(Buffer.from('12345678\n'));
    expect(allLines(fits)).toEqual(['12345678']);
    expect(fits.overflowed).toBe(false);

    const over = new LineReader(8);
    over.push(Buffer.from('123456789\n'));
    expect(allLines(over)).toEqual([]);
    expect(over.overflowed).toBe(true);
  });

  test('keeps nothing after an overflow and no more than the limit before it', () => {
    const reader = new LineReader(1000);
    const chunk = Buffer.alloc(300, 'x');
    for (let count = 0; count < 10_000; count += 1) {
      reader.push(chunk);
      reader.next();
      expect(reader.bufferedBytes).toBeLessThanOrEqual(1000);
    }
    expect(reader.overflowed).toBe(true);
    expect(reader.bufferedBytes).toBe(0);
  });

  test('holds a line that comes byte by byte in one buffer', () => {
    const reader = new LineReader(4096);
    for (let count = 0; count < 4000; count += 1) {
      reader.push(Buffer.from('y'));
      reader.next();
    }
    expect(reader.bufferedBytes).toBeLessThanOrEqual(4096);
    reader.push(Buffer.from('\n'));
    expect(reader.next()?.toString()).toBe('y'.repeat(4000));
  });

  test('gives a line before an overlong one, then stops', () => {
    const reader = new LineReader(5);
    reader.push(Buffer.from('ok\nfar too long\nnext\n'));
    expect(allLines(reader)).toEqual(['ok']);
    expect(reader.overflowed).toBe(true);
  });

  test('hands over what follows the last line', () => {
    const reader = new LineReader(100);
    reader.push(Buffer.from('first\nbytes\nof a stream'));
    expect(reader.next()?.toString()).toBe('first');
    expect(reader.takeRest().toString()).toBe('bytes\nof a stream');
    expect(reader.bufferedBytes).toBe(0);
  });
});

describe('parseIncoming', () => {
  test('reads requests, notifications and attach lines', () => {
    expect(parse('{"jsonrpc":"2.0","id":1,"method":"ping"}')).toEqual({ kind: 'request', id: 1, method: 'ping', params: undefined });
    expect(parse('{"jsonrpc":"2.0","id":"a","method":"x","params":{"b":1}}')).toEqual({ kind: 'request', id: 'a', method: 'x', params: { b: 1 } });
    expect(parse('{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":1}}')).toEqual({ kind: 'notification', method: 'rpc.cancel', params: { id: 1 } });
    expect(parse('{"attach":"t"}')).toEqual({ kind: 'attach', ticket: 't' });
    expect(parse('{"jsonrpc":"2.0","id":1,"method":"ping"}\r').kind).toBe('request');
  });

  test.each([
    ['garbage', 'GET / HTTP/1.1', rpcCode.parse, null],
    ['half a document', '{"jsonrpc":"2.0"', rpcCode.parse, null],
    ['a batch', '[{"jsonrpc":"2.0","id":1,"method":"ping"}]', rpcCode.invalidRequest, null],
    ['an empty batch', '[]', rpcCode.invalidRequest, null],
    ['null in a batch', '[null]', rpcCode.invalidRequest, null],
    ['null', 'null', rpcCode.invalidRequest, null],
    ['a number', '0', rpcCode.invalidRequest, null],
    ['text', '"ping"', rpcCode.invalidRequest, null],
    ['JSON-RPC 1', '{"id":1,"method":"ping"}', rpcCode.invalidRequest, 1],
    ['no method', '{"jsonrpc":"2.0","id":1}', rpcCode.invalidRequest, 1],
    ['a method that is no text', '{"jsonrpc":"2.0","id":1,"method":1}', rpcCode.invalidRequest, 1],
    ['a null id', '{"jsonrpc":"2.0","id":null,"method":"ping"}', rpcCode.invalidRequest, null],
    ['an object as id', '{"jsonrpc":"2.0","id":{},"method":"ping"}', rpcCode.invalidRequest, null],
    ['an endless id', `{"jsonrpc":"2.0","id":"${'x'.repeat(129)}","method":"ping"}`, rpcCode.invalidRequest, null],
    ['a response', '{"jsonrpc":"2.0","id":1,"method":"ping","result":1}', rpcCode.invalidRequest, 1],
    ['params by position', '{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', rpcCode.invalidParams, 1],
    ['params that are null', '{"jsonrpc":"2.0","id":1,"method":"ping","params":null}', rpcCode.invalidParams, 1],
    ['attach with more in it', '{"attach":"t","id":1}', rpcCode.invalidRequest, 1],
  ])('refuses %s', (_name, text, code, id) => {
    expect(parse(text)).toMatchObject({ kind: 'fault', code, id });
  });

  test('refuses bytes that are not UTF-8', () => {
    const bytes = Buffer.concat([Buffer.from('{"jsonrpc":"2.0","id":1,"method":"a'), Buffer.from([0xff]), Buffer.from('"}')]);
    expect(parseIncoming(bytes)).toMatchObject({ kind: 'fault', code: rpcCode.parse });
  });

  test('does not quote the input back', () => {
    expect(JSON.stringify(parse('secret-token-123'))).not.toContain('secret');
  });
});
