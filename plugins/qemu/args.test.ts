import { describe, expect, test } from 'vitest';
import type { MachineSpec } from '../../core/plugin-api.ts';
import { buildQemuArgs } from './args.ts';
import type { QemuArgsInput } from './args.ts';

const machine: MachineSpec = {
  kernelPath: '/k/vmlinuz', initrdPath: '/v/initrd', cmdline: ['quiet'], vcpu: 2, memoryMiB: 512,
  drives: [
    { id: 'root', path: '/v/a,b.qcow2', format: 'qcow2', readonly: false },
    { id: 'work', path: '/v/work.raw', format: 'raw', readonly: false },
  ],
  nics: [{ kind: 'user', mac: '02:aa:bb:cc:dd:ee', cidr: '10.0.3.0/24', gateway: '10.0.3.2' }],
  netnsPidFile: '/v/netns.pid',
};
const input: QemuArgsInput = {
  machine, name: 'devbox', uuid: '11111111-2222-8333-a444-555555555555', accel: 'tcg', machineType: 'q35', cpu: 'qemu64', qmpFd: 3, agentFd: 4, bulkFd: 5, eventsFd: 6,
};
const withMachine = (part: Partial<MachineSpec>): string[] => buildQemuArgs({ ...input, machine: { ...machine, ...part } });

describe('buildQemuArgs', () => {
  test('keeps every option, device and address as it is', () => {
    expect(buildQemuArgs(input)).toEqual([
      '-name', 'guest=banger-devbox,debug-threads=off',
      '-uuid', '11111111-2222-8333-a444-555555555555',
      '-machine', 'q35,sata=off,smbus=off,accel=tcg,usb=off,vmport=off,smm=off,hpet=off,dump-guest-core=off',
      '-cpu', 'qemu64', '-m', '512', '-smp', '2,sockets=1,cores=2,threads=1',
      '-nodefaults', '-no-user-config', '-display', 'none',
      '-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny',
      '-chardev', 'socket,id=qmp,fd=3,server=on,wait=off', '-mon', 'chardev=qmp,mode=control',
      '-chardev', 'socket,id=events,fd=6', '-mon', 'chardev=events,mode=control',
      '-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console',
      '-device', 'virtio-serial-pci,id=ports,max_ports=4,disable-legacy=on,addr=0x3',
      '-chardev', 'socket,id=agent,fd=4,server=on,wait=off',
      '-device', 'virtserialport,bus=ports.0,nr=1,chardev=agent,name=banger.agent',
      '-chardev', 'socket,id=bulk,fd=5,server=on,wait=off',
      '-device', 'virtserialport,bus=ports.0,nr=2,chardev=bulk,name=banger.bulk',
      '-object', 'rng-builtin,id=rng', '-device', 'virtio-rng-pci,rng=rng,max-bytes=65536,period=1000,disable-legacy=on,addr=0x4',
      '-netdev', 'user,id=net0,net=10.0.3.0/24,host=10.0.3.2,ipv6=off,restrict=off',
      '-device', 'virtio-net-pci,netdev=net0,mac=02:aa:bb:cc:dd:ee,romfile=,disable-legacy=on,addr=0x5',
      '-blockdev', '{"driver":"qcow2","node-name":"drive-root","read-only":false,"discard":"unmap","file":{"driver":"file","filename":"/v/a,b.qcow2","discard":"unmap"}}',
      '-device', 'virtio-blk-pci,drive=drive-root,id=root,serial=root,werror=report,rerror=report,disable-legacy=on,addr=0x8',
      '-blockdev', '{"driver":"raw","node-name":"drive-work","read-only":false,"discard":"unmap","file":{"driver":"file","filename":"/v/work.raw","discard":"unmap"}}',
      '-device', 'virtio-blk-pci,drive=drive-work,id=work,serial=work,werror=report,rerror=report,disable-legacy=on,addr=0x9',
      '-kernel', '/k/vmlinuz', '-initrd', '/v/initrd', '-append', 'quiet mitigations=off init_on_alloc=0 norandmaps console=ttyS0 reboot=t panic=-1',
    ]);
  });

  test('leaves the kernel of a guest on real hardware its guards', () => {
    const args = buildQemuArgs({ ...input, accel: 'kvm' });
    expect(args[args.indexOf('-append') + 1]).toBe('quiet console=ttyS0 reboot=t panic=-1');
  });

  test('a machine without network has no network device at all', () => {
    const args = withMachine({ nics: [] });
    expect(args.join(' ')).not.toMatch(/netdev|virtio-net/);
  });

  test('a further drive leaves the addresses of the others alone', () => {
    const before = withMachine({}).filter((arg) => arg.includes('addr='));
    const more = [...machine.drives, { id: 'extra', path: '/v/x', format: 'raw' as const, readonly: true }];
    const after = withMachine({ drives: more }).filter((arg) => arg.includes('addr='));
    expect(after.slice(0, before.length)).toEqual(before);
  });

  test('a tap device is taken as it is, without host scripts', () => {
    const args = withMachine({ nics: [{ kind: 'tap', mac: '02:aa:bb:cc:dd:ee', device: 'tap7' }] });
    expect(args).toContain('tap,id=net0,ifname=tap7,script=no,downscript=no');
  });

  test('refuses a user network outside a namespace, which would offer the host loopback', () => {
    const { netnsPidFile: _, ...bare } = machine;
    expect(() => buildQemuArgs({ ...input, machine: bare })).toThrow(/needs a network namespace/);
  });

  test.each([
    ['a drive id with an option in it', { drives: [{ id: 'a,b', path: '/x', format: 'raw' as const, readonly: false }] }],
    ['a relative drive path', { drives: [{ id: 'a', path: 'x', format: 'raw' as const, readonly: false }] }],
    ['a mac that is none', { nics: [{ kind: 'tap' as const, mac: '02:aa', device: 'tap0' }] }],
    ['a tap name with an option in it', { nics: [{ kind: 'tap' as const, mac: '02:aa:bb:cc:dd:ee', device: 'a,script=/x' }] }],
    ['a network with an option in it', { nics: [{ kind: 'user' as const, mac: '02:aa:bb:cc:dd:ee', cidr: '10.0.3.0/24,smb=/', gateway: '10.0.3.2' }] }],
  ])('refuses %s', (_name, part) => {
    expect(() => withMachine(part)).toThrow(expect.objectContaining({ code: 'bad_request' }));
  });

  test('refuses more devices than there are slots', () => {
    const drives = Array.from({ length: 23 }, (_, i) => ({ id: `d${i}`, path: '/x', format: 'raw' as const, readonly: false }));
    expect(() => withMachine({ drives })).toThrow(expect.objectContaining({ code: 'unsupported' }));
  });
});
