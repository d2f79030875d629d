import { describe, expect, test } from 'vitest';
import { encodeFrame, FrameDecoder, maxFramePayload } from './frames.ts';

describe('frames', () => {
  test('come out as they went in, however the bytes are cut', () => {
    const sent = [{ kind: 0, payload: 'hello' }, { kind: 255, payload: '' }, { kind: 16, payload: 'x'.repeat(300) }];
    const bytes = Buffer.concat(sent.map(({ kind, payload }) => encodeFrame(kind, Buffer.from(payload))));
    for (const cut of [1, 2, 3, 4, 5, 6, 7, 64, bytes.length]) {
      const decoder = new FrameDecoder();
      const got: { kind: number; payload: string }[] = [];
      for (let at = 0; at < bytes.length; at += cut) {
        decoder.push(bytes.subarray(at, at + cut));
        for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) got.push({ kind: frame.kind, payload: frame.payload.toString() });
      }
      expect(got).toEqual(sent);
      expect(decoder.bufferedBytes).toBe(0);
    }
  });

  test('follow the published layout', () => {
    expect(encodeFrame(17, Buffer.from('ab'))).toEqual(Buffer.from([17, 0, 0, 0, 2, 0x61, 0x62]));
  });

  test('carry 1 MiB and not a byte more', () => {
    const decoder = new FrameDecoder();
    decoder.push(encodeFrame(1, Buffer.alloc(maxFramePayload, 7)));
    expect(decoder.next()?.payload.length).toBe(maxFramePayload);
    expect(() => encodeFrame(1, Buffer.alloc(maxFramePayload + 1))).toThrow(RangeError);
  });

  test('with a length over the limit are refused at the header, before their payload is kept', () => {
    const decoder = new FrameDecoder();
    decoder.push(Buffer.from([0, 0x00, 0x10, 0x00, 0x01]));
    expect(() => decoder.next()).toThrow(RangeError);
  });
});
