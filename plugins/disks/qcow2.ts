// Writes an empty qcow2 overlay: four clusters of metadata, without starting qemu-img (which costs 13 ms and a process on
// every first boot). Source: QEMU docs/interop/qcow2.txt, version 3.
import { open } from 'node:fs/promises';

const clusterBits = 16;
const cluster = 1 << clusterBits;
/** Guest bytes one L1 entry covers: a cluster of 8-byte L2 entries, each for one cluster. */
const bytesPerL1Entry = (cluster / 8) * cluster;
const headerBytes = 104;
/** Reference counts of 16 bits, the default. */
const refcountOrder = 4;
const backingFormatExtension = 0xe2792aca;

/**
 * Creates `path` (which must not exist, mode 0600) as an overlay of `sizeBytes` over a raw file.
 * @throws RangeError when the backing path is longer than the format's 1023 bytes, or the size is not a multiple of 512
 */
export async function createOverlay(path: string, options: { readonly sizeBytes: number; readonly backingPath: string }): Promise<void> {
  const image = overlayImage(options);
  const file = await open(path, 'wx', 0o600);
  try {
    await file.write(image, 0, image.length, 0);
  } finally {
    await file.close();
  }
}

/** Layout: header, refcount table, refcount block, L1 table; the L1 table's end is the file's. */
export function overlayImage(options: { readonly sizeBytes: number; readonly backingPath: string }): Buffer {
  const backing = Buffer.from(options.backingPath);
  if (backing.length > 1023) throw new RangeError('The path of the backing file is too long for qcow2');
  if (options.sizeBytes % 512 !== 0) throw new RangeError('The size of a disk is not a multiple of 512');
  const l1Entries = Math.max(1, Math.ceil(options.sizeBytes / bytesPerL1Entry));
  const l1Clusters = Math.ceil((l1Entries * 8) / cluster);
  const used = 3 + l1Clusters;
  const image = Buffer.alloc(used * cluster);
  const extensionsEnd = writeExtensions(image);
  backing.copy(image, extensionsEnd);
  writeHeader(image, { sizeBytes: options.sizeBytes, backingOffset: extensionsEnd, backingBytes: backing.length, l1Entries });
  image.writeBigUInt64BE(BigInt(2 * cluster), cluster);
  for (let index = 0; index < used; index++) image.writeUInt16BE(1, 2 * cluster + index * 2);
  return image;
}

/** The backing format is named, so that QEMU never guesses it from bytes the guest may have written. */
function writeExtensions(image: Buffer): number {
  image.writeUInt32BE(backingFormatExtension, headerBytes);
  image.writeUInt32BE(3, headerBytes + 4);
  image.write('raw', headerBytes + 8, 'ascii');
  return headerBytes + 16 + 8;
}

function writeHeader(image: Buffer, h: { sizeBytes: number; backingOffset: number; backingBytes: number; l1Entries: number }): void {
  image.write('QFI\xfb', 0, 'latin1');
  image.writeUInt32BE(3, 4);
  image.writeBigUInt64BE(BigInt(h.backingOffset), 8);
  image.writeUInt32BE(h.backingBytes, 16);
  image.writeUInt32BE(clusterBits, 20);
  image.writeBigUInt64BE(BigInt(h.sizeBytes), 24);
  image.writeUInt32BE(h.l1Entries, 36);
  image.writeBigUInt64BE(BigInt(3 * cluster), 40);
  image.writeBigUInt64BE(BigInt(cluster), 48);
  image.writeUInt32BE(1, 56);
  image.writeUInt32BE(refcountOrder, 96);
  image.writeUInt32BE(headerBytes, 100);
}

/** Guest bytes by the first 32 bytes of a file; `undefined` when it is no qcow2. */
export function overlaySize(header: Buffer): number | undefined {
  if (header.length < 32 || header.toString('latin1', 0, 4) !== 'QFI\xfb') return undefined;
  const size = header.readBigUInt64BE(24);
  return size <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(size) : undefined;
}

export type OverlayHeader = { readonly backingPath: string } | { readonly problem: string };

/** What an overlay of ours says of itself; a VMM that was taken over by its guest may have written anything there. */
export async function readOverlayHeader(path: string): Promise<OverlayHeader> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(cluster), 0, cluster, 0);
    return parseHeader(buffer.subarray(0, bytesRead));
  } finally {
    await file.close();
  }
}

function parseHeader(header: Buffer): OverlayHeader {
  if (header.length < headerBytes) return { problem: `it ends after ${header.length} bytes` };
  if (overlaySize(header) === undefined || header.readUInt32BE(4) !== 3) return { problem: 'it is no qcow2 file of version 3' };
  // Bit 0: not closed cleanly; bit 1: QEMU found it corrupt. Others name files or formats that ours never have.
  const features = header.readBigUInt64BE(72);
  if ((features & 2n) !== 0n) return { problem: 'QEMU has marked it as corrupt' };
  if ((features & ~1n) !== 0n) return { problem: 'it has features that are not ours' };
  const at = Number(header.readBigUInt64BE(8));
  const length = header.readUInt32BE(16);
  if (length === 0 || length > 1023 || at + length > header.length) return { problem: 'it names no image' };
  if (backingFormat(header) !== 'raw') return { problem: 'it does not take its image for a raw file' };
  return { backingPath: header.toString('utf8', at, at + length) };
}

/** Extensions follow the header: type, length, data padded to 8 bytes; type 0 ends them. `undefined`: none, or not one alone, of which QEMU takes the last. */
function backingFormat(header: Buffer): string | undefined {
  let at = header.readUInt32BE(100);
  let found: string | undefined;
  while (at + 8 <= header.length) {
    const type = header.readUInt32BE(at);
    const length = header.readUInt32BE(at + 4);
    if (type === 0) return found;
    if (at + 8 + length > header.length) return undefined;
    if (type === backingFormatExtension) {
      if (found !== undefined) return undefined;
      found = header.toString('latin1', at + 8, at + 8 + length);
    }
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return undefined;
}
