import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { extractBootableElf, isPvhKernel } from './bzimage.ts';
import { decodeLz4Legacy } from './lz4.ts';

/** An ELF64 file with one note segment. */
function elfWithNote(type: number, name = 'Xen\0'): Buffer {
  const file = Buffer.alloc(64 + 56 + 20);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  file.writeBigUInt64LE(64n, 0x20);
  file.writeUInt16LE(56, 0x36);
  file.writeUInt16LE(1, 0x38);
  file.writeUInt32LE(4, 64);
  file.writeBigUInt64LE(120n, 64 + 0x08);
  file.writeBigUInt64LE(20n, 64 + 0x20);
  file.writeUInt32LE(4, 120);
  file.writeUInt32LE(4, 124);
  file.writeUInt32LE(type, 128);
  file.write(name, 132, 'latin1');
  return Buffer.concat([file, Buffer.alloc(4096)]);
}

function bzImage(payload: Buffer): Buffer {
  const head = Buffer.alloc(1024);
  head[0x1f1] = 1;
  head.write('HdrS', 0x202, 'latin1');
  head.writeUInt16LE(0x20f, 0x206);
  head.writeUInt32LE(0, 0x248);
  head.writeUInt32LE(payload.length, 0x24c);
  return Buffer.concat([head, payload, Buffer.alloc(100)]);
}
const withLength = (packed: Buffer, length: number): Buffer => {
  const tail = Buffer.alloc(4);
  tail.writeUInt32LE(length);
  return Buffer.concat([packed, tail]);
};

describe('extracting the kernel', () => {
  const elf = elfWithNote(18);
  test('unpacks gzip and zstd, and takes an unpacked one as it is', () => {
    expect(extractBootableElf(bzImage(gzipSync(elf)))?.equals(elf)).toBe(true);
    expect(extractBootableElf(bzImage(withLength(zstdCompressSync(elf), elf.length)))?.equals(elf)).toBe(true);
  });
  test('gives nothing for a kernel without the boot note, or packed otherwise', () => {
    expect(extractBootableElf(bzImage(gzipSync(elfWithNote(17))))).toBeUndefined();
    expect(extractBootableElf(bzImage(withLength(Buffer.from('\xfd7zXZ\0 something', 'latin1'), 100)))).toBeUndefined();
  });
  test('refuses what is no bzImage', () => {
    expect(() => extractBootableElf(Buffer.alloc(4096))).toThrow(RangeError);
    expect(() => extractBootableElf(Buffer.from('short'))).toThrow(RangeError);
    expect(() => extractBootableElf(bzImage(Buffer.alloc(2000)).subarray(0, 1026))).toThrow(RangeError);
  });
});

test('recognises the boot note by owner and type', () => {
  expect([isPvhKernel(elfWithNote(18)), isPvhKernel(elfWithNote(18, 'GNU\0')), isPvhKernel(Buffer.alloc(200))]).toEqual([true, false, false]);
});

describe('LZ4 legacy frames', () => {
  test('unpack to what the lz4 program packed', (ctx) => {
    if (spawnSync('lz4', ['--version']).status !== 0) ctx.skip('the program lz4 is not installed');
    const dir = mkdtempSync(join(tmpdir(), 'banger-lz4-'));
    try {
      // More than one block of 8 MiB; runs, repeats and noise.
      const data = Buffer.concat([Buffer.alloc(5 << 20, 'ab'), randomBytes(2 << 20), Buffer.alloc(3 << 20), randomBytes(1000), Buffer.from('tail'.repeat(9))]);
      const packed = join(dir, 'x.lz4');
      writeFileSync(join(dir, 'x'), data);
      execFileSync('lz4', ['-l', '-9', '-q', '-f', join(dir, 'x'), packed]);
      const sum = (buffer: Buffer): string => createHash('sha256').update(buffer).digest('hex');
      expect(sum(decodeLz4Legacy(readFileSync(packed), data.length))).toBe(sum(data));
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  const frame = (block: number[]): Buffer => {
    const head = Buffer.alloc(8);
    head.writeUInt32LE(0x184c2102, 0);
    head.writeUInt32LE(block.length, 4);
    return Buffer.concat([head, Buffer.from(block)]);
  };
  test('unpack an overlapping match written by hand', () => {
    // One literal "a", then a match of 4 + 3 bytes, 1 back; then a last literal "b".
    expect(decodeLz4Legacy(frame([0x13, 0x61, 1, 0, 0x10, 0x62]), 9).toString()).toBe('aaaaaaaab');
  });
  test.each([
    ['a match before the start', frame([0x10, 0x61, 2, 0]), 5],
    ['a match of distance 0', frame([0x10, 0x61, 0, 0]), 5],
    ['literals beyond the block', frame([0x50, 0x61]), 5],
    ['a match beyond the output', frame([0x1f, 0x61, 1, 0, 255, 0]), 5],
    ['a length that never ends', frame([0xf0, 255, 255]), 5],
    ['a block that is cut short', frame([0x10, 0x61]).subarray(0, 9), 1],
    ['another magic', Buffer.alloc(16), 5],
  ])('refuse %s', (_name, input, length) => {
    expect(() => decodeLz4Legacy(input, length)).toThrow(RangeError);
  });
});
