// Decoder of the LZ4 legacy frame, in which kernels are packed (CONFIG_KERNEL_LZ4). Node has no LZ4 of its own.
// Sources: lz4 doc/lz4_Frame_format.md ("Legacy frame") and doc/lz4_Block_format.md.

export const lz4LegacyMagic = 0x184c2102;
/** Every block but the last holds this much when unpacked. */
const blockBytes = 8 << 20;

/**
 * Unpacks a legacy frame whose whole length is known beforehand; what follows the last block (the kernel build appends the
 * length) is ignored.
 * @throws RangeError on damaged input, never reading or writing outside its buffers
 */
export function decodeLz4Legacy(input: Buffer, outputBytes: number): Buffer {
  if (input.readUInt32LE(0) !== lz4LegacyMagic) throw new RangeError('Not an LZ4 legacy frame');
  const output = Buffer.alloc(outputBytes);
  let from = 4;
  let to = 0;
  while (to < outputBytes) {
    const size = input.readUInt32LE(from);
    const block = input.subarray(from + 4, from + 4 + size);
    if (block.length !== size) throw new RangeError('LZ4 data ends inside a block');
    to = decodeBlock(block, output, { at: to, end: Math.min(outputBytes, to + blockBytes) });
    from += 4 + size;
  }
  return output;
}

/** Unpacks one block to `output` from `at`; answers where it ended. Matches reach back inside the block only. */
function decodeBlock(block: Buffer, output: Buffer, range: { readonly at: number; readonly end: number }): number {
  let from = 0;
  let to = range.at;
  const byte = (): number => {
    const value = block[from++];
    if (value === undefined) throw new RangeError('LZ4 data ends inside a sequence');
    return value;
  };
  const length = (nibble: number): number => {
    let total = nibble;
    if (nibble === 15) for (let more = 255; more === 255;) total += more = byte();
    return total;
  };
  while (from < block.length) {
    const token = byte();
    const literals = length(token >> 4);
    if (literals > block.length - from || literals > range.end - to) throw new RangeError('LZ4 literals are too long');
    block.copy(output, to, from, from + literals);
    from += literals;
    to += literals;
    if (from === block.length) return to;
    const distance = byte() | (byte() << 8);
    const match = length(token & 15) + 4;
    if (distance === 0 || distance > to - range.at || match > range.end - to) throw new RangeError('LZ4 match is out of range');
    // Byte by byte: a match may overlap what it writes, and then repeats.
    for (const end = to + match; to < end; to++) output[to] = output[to - distance] ?? 0;
  }
  return to;
}
