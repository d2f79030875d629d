// Which kernel modules the initrd needs, and in which order they load. A freshly unpacked package has no modules.dep (depmod
// writes that on installation), so dependencies are read from the modules' own .modinfo sections.

/** Modules a virtio guest needs before its root disk is mounted, in load order; `virtio_rng` where it is a module. */
export const wantedModules = [
  'virtio', 'virtio_ring', 'virtio_pci_modern_dev', 'virtio_pci_legacy_dev', 'virtio_pci', 'virtio_blk', 'failover', 'net_failover',
  'virtio_net', 'virtio_console', 'virtio_rng',
] as const;

/** Module names write `-` and `_` alike; the kernel uses `_`. */
export const moduleName = (path: string): string =>
  (path.split('/').at(-1) ?? '').replace(/\.ko(\.(xz|zst|gz))?$/, '').replaceAll('-', '_');

/**
 * Reads the `depends=` entry of a module's .modinfo section, which is a run of zero-terminated `key=value` strings (kernel:
 * include/linux/moduleparam.h). ELF64, little endian.
 * @throws RangeError when the file is not such a module
 */
export function readDependencies(module: Buffer): string[] {
  const info = elfSection(module, '.modinfo');
  if (!info) throw new RangeError('Not a kernel module: no .modinfo section');
  const depends = info.toString('latin1').split('\0').find((entry) => entry.startsWith('depends='));
  return (depends ?? 'depends=').slice('depends='.length).split(',').filter((name) => name !== '').map((name) => name.replaceAll('-', '_'));
}

/** Contents of a section by name: section headers at e_shoff, names in section e_shstrndx (elf(5)). */
function elfSection(file: Buffer, wanted: string): Buffer | undefined {
  if (file.length < 64 || file.readUInt32BE(0) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1) throw new RangeError('Not a 64-bit ELF file');
  const table = Number(file.readBigUInt64LE(0x28));
  const size = file.readUInt16LE(0x3a);
  const count = file.readUInt16LE(0x3c);
  const header = (index: number): Buffer => file.subarray(table + index * size, table + (index + 1) * size);
  const bytes = (head: Buffer): Buffer => {
    const offset = Number(head.readBigUInt64LE(0x18));
    return file.subarray(offset, offset + Number(head.readBigUInt64LE(0x20)));
  };
  const names = bytes(header(file.readUInt16LE(0x3e)));
  for (let index = 0; index < count; index++) {
    const head = header(index);
    const start = head.readUInt32LE(0);
    if (names.toString('latin1', start, names.indexOf(0, start)) === wanted) return bytes(head);
  }
  return undefined;
}

/**
 * Puts modules and all they depend on into load order: a dependency before its user, otherwise as wanted. Names that `dependsOn`
 * does not know are built into the kernel and left out.
 * @throws RangeError naming a cycle
 */
export function loadOrder(wanted: readonly string[], dependsOn: (name: string) => readonly string[] | undefined): string[] {
  const order: string[] = [];
  const done = new Set<string>();
  const visit = (name: string, path: readonly string[]): void => {
    if (done.has(name)) return;
    if (path.includes(name)) throw new RangeError(`Kernel modules depend on each other: ${[...path, name].join(' -> ')}`);
    const needed = dependsOn(name);
    if (needed === undefined) return;
    for (const dependency of needed) visit(dependency, [...path, name]);
    done.add(name);
    order.push(name);
  };
  for (const name of wanted) visit(name, []);
  return order;
}
