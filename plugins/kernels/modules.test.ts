import { describe, expect, test } from 'vitest';
import { newestKernelPackage } from './debian.ts';
import { loadOrder, moduleName, readDependencies } from './modules.ts';

/** A little ELF64 file with one named section. */
function elfWith(name: string, content: string): Buffer {
  const names = Buffer.from(`\0.shstrtab\0${name}\0`, 'latin1');
  const data = Buffer.from(content, 'latin1');
  const header = Buffer.alloc(64);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  const table = 64 + names.length + data.length;
  header.writeBigUInt64LE(BigInt(table), 0x28);
  header.writeUInt16LE(64, 0x3a);
  header.writeUInt16LE(3, 0x3c);
  header.writeUInt16LE(1, 0x3e);
  const section = (nameAt: number, offset: number, size: number): Buffer => {
    const head = Buffer.alloc(64);
    head.writeUInt32LE(nameAt, 0);
    head.writeBigUInt64LE(BigInt(offset), 0x18);
    head.writeBigUInt64LE(BigInt(size), 0x20);
    return head;
  };
  return Buffer.concat([header, names, data, Buffer.alloc(64), section(1, 64, names.length), section(11, 64 + names.length, data.length)]);
}

describe('dependencies of a module', () => {
  test('are the depends= entry of .modinfo', () => {
    expect(readDependencies(elfWith('.modinfo', 'license=GPL\0depends=virtio,virtio-ring\0retpoline=Y\0'))).toEqual(['virtio', 'virtio_ring']);
    expect(readDependencies(elfWith('.modinfo', 'depends=\0'))).toEqual([]);
    expect(readDependencies(elfWith('.modinfo', 'license=GPL\0'))).toEqual([]);
  });
  test('of something else are an error', () => {
    expect(() => readDependencies(elfWith('.text', 'x'))).toThrow(RangeError);
    expect(() => readDependencies(Buffer.from('not elf'))).toThrow(RangeError);
  });
});

describe('load order', () => {
  const of = (graph: Record<string, string[]>) => (name: string) => graph[name];
  test('puts dependencies first, each once, otherwise as wanted', () => {
    const graph = { net: ['failover', 'ring'], failover: [], ring: [], virtio: ['ring'], blk: ['virtio', 'ring'] };
    expect(loadOrder(['virtio', 'ring', 'blk', 'net'], of(graph))).toEqual(['ring', 'virtio', 'blk', 'failover', 'net']);
  });
  test('brings in dependencies nobody asked for, and leaves out what is built in', () => {
    expect(loadOrder(['a', 'builtin'], of({ a: ['hidden', 'core'], hidden: [] }))).toEqual(['hidden', 'a']);
  });
  test('names a cycle', () => {
    expect(() => loadOrder(['a'], of({ a: ['b'], b: ['a'] }))).toThrow('a -> b -> a');
  });
});

test.each([['kernel/drivers/char/hw_random/virtio-rng.ko', 'virtio_rng'], ['virtio.ko.xz', 'virtio'], ['/x/net_failover.ko.zst', 'net_failover']])(
  'the module in %s is %s', (path, name) => {
    expect(moduleName(path)).toBe(name);
  });

describe('the newest kernel package', () => {
  const meta = 'linux-image-cloud-amd64\n';
  test.each([
    ['one', `${meta}  Depends: linux-image-6.1.0-56-cloud-amd64\n`, 'linux-image-6.1.0-56-cloud-amd64'],
    ['by number', `${meta} |Depends: linux-image-6.1.0-9-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n`, 'linux-image-6.1.0-56-cloud-amd64'],
    ['no unsigned one', `${meta}  Depends: linux-image-6.1.0-56-cloud-amd64-unsigned\n`, undefined],
    ['none', 'E: No packages found\n', undefined],
  ])('%s', (_name, text, expected) => {
    expect(newestKernelPackage(text)).toBe(expected);
  });
});
