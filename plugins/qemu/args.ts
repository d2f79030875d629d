// The QEMU command line, as a pure function. Device order and PCI addresses are fixed: a saved VM can be restored only into the
// same machine, and a drive added later must not move the others.
import { badRequest, unsupported } from '../../core/plugin-api.ts';
import type { Drive, Issue, MachineSpec, Nic } from '../../core/plugin-api.ts';

export interface QemuArgsInput {
  readonly machine: MachineSpec;
  /** Shown in process lists: `banger-<vm name>`. */
  readonly name: string;
  readonly uuid: string;
  readonly accel: 'kvm' | 'tcg';
  readonly machineType: 'q35' | 'pc';
  readonly cpu: string;
  /** Descriptors of listening sockets that the VMM inherits. */
  readonly qmpFd: number;
  readonly agentFd: number;
  readonly bulkFd: number;
  /** Descriptor of a connected socket: the supervisor's own control channel, on which it hears of resets. */
  readonly eventsFd: number;
}

/** Slots on the root bus. 0 and 31 belong to the chipset of q35, 1 to that of pc. */
const slots = { serial: 0x3, rng: 0x4, nic: 0x5, drive: 0x8 } as const;
const maxNics = 3;
const maxDrives = 22;

/**
 * What guards against the speculation of a CPU and against stale memory inside the guest costs a third of all file writes under emulation, where no such
 * CPU is: every indirect jump is a look-up then. Programs at random addresses have all their code translated anew at each start, three times the work of
 * starting one. Stated in the plugin's README; with kvm the kernel's own choice stands.
 */
const emulationCmdline = ['mitigations=off', 'init_on_alloc=0', 'norandmaps'];

/** Arguments after the program's name. @throws bad_request for a machine QEMU cannot build; unsupported for too many devices */
export function buildQemuArgs(input: QemuArgsInput): string[] {
  const { machine } = input;
  requireMachine(machine);
  return [
    '-name', `guest=banger-${input.name},debug-threads=off`,
    '-uuid', input.uuid,
    '-machine', machineOptions(input),
    '-cpu', input.cpu,
    '-m', String(machine.memoryMiB),
    '-smp', `${machine.vcpu},sockets=1,cores=${machine.vcpu},threads=1`,
    // No defaults, no files of the host's user, no window: what the guest has is what follows.
    '-nodefaults', '-no-user-config', '-display', 'none',
    '-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny',
    '-chardev', `socket,id=qmp,fd=${input.qmpFd},server=on,wait=off`,
    '-mon', 'chardev=qmp,mode=control',
    '-chardev', `socket,id=events,fd=${input.eventsFd}`, '-mon', 'chardev=events,mode=control',
    // Standard input and output are our supervisor's pipes: it bounds the log and lets one client at a time type.
    '-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console',
    '-device', pci('virtio-serial-pci', slots.serial, ['id=ports', 'max_ports=4']),
    '-chardev', `socket,id=agent,fd=${input.agentFd},server=on,wait=off`,
    '-device', 'virtserialport,bus=ports.0,nr=1,chardev=agent,name=banger.agent',
    '-chardev', `socket,id=bulk,fd=${input.bulkFd},server=on,wait=off`,
    '-device', 'virtserialport,bus=ports.0,nr=2,chardev=bulk,name=banger.bulk',
    '-object', 'rng-builtin,id=rng', '-device', pci('virtio-rng-pci', slots.rng, ['rng=rng', 'max-bytes=65536', 'period=1000']),
    ...machine.nics.flatMap(nicArgs),
    ...machine.drives.flatMap(driveArgs),
    '-kernel', machine.kernelPath, '-initrd', machine.initrdPath,
    '-append', [...machine.cmdline, ...(input.accel === 'tcg' ? emulationCmdline : []), 'console=ttyS0', 'reboot=t', 'panic=-1'].join(' '),
  ];
}

function machineOptions(input: QemuArgsInput): string {
  // vmport and smm exist for other guests; what they cost and expose is not needed.
  const chipset = input.machineType === 'q35' ? 'q35,sata=off,smbus=off' : 'pc';
  return `${chipset},accel=${input.accel},usb=off,vmport=off,smm=off,hpet=off,dump-guest-core=off`;
}

function pci(model: string, slot: number, options: readonly string[]): string {
  return [model, ...options, 'disable-legacy=on', `addr=0x${slot.toString(16)}`].join(',');
}

function nicArgs(nic: Nic, index: number): string[] {
  const id = `net${index}`;
  const backend = nic.kind === 'tap'
    ? `tap,id=${id},ifname=${nic.device},script=no,downscript=no`
    : `user,id=${id},net=${nic.cidr},host=${nic.gateway},ipv6=off,restrict=off`;
  // Without an option ROM: nothing boots from the network, and the firmware would run it.
  return ['-netdev', backend, '-device', pci('virtio-net-pci', slots.nic + index, [`netdev=${id}`, `mac=${nic.mac}`, 'romfile='])];
}

function driveArgs(drive: Drive, index: number): string[] {
  const node = `drive-${drive.id}`;
  const backend = {
    driver: drive.format, 'node-name': node, 'read-only': drive.readonly, discard: 'unmap',
    // JSON, because a comma in a path would be read as the next option.
    file: { driver: 'file', filename: drive.path, discard: 'unmap' },
  };
  // report: a full host disk becomes an error in the guest and an event for us; the default would pause the guest for good.
  const options = [`drive=${node}`, `id=${drive.id}`, `serial=${drive.id}`, 'werror=report', 'rerror=report'];
  return ['-blockdev', JSON.stringify(backend), '-device', pci('virtio-blk-pci', slots.drive + index, options)];
}

function requireMachine(machine: MachineSpec): void {
  if (machine.nics.length > maxNics) throw unsupported(`QEMU machines here have at most ${maxNics} network interfaces`);
  if (machine.drives.length > maxDrives) throw unsupported(`QEMU machines here have at most ${maxDrives} drives`);
  const issues: Issue[] = [];
  const require = (ok: boolean, path: string, message: string): void => { if (!ok) issues.push({ path, message }); };
  machine.drives.forEach((drive, i) => {
    require(/^[a-z][a-z0-9-]{0,19}$/.test(drive.id), `drives[${i}].id`, 'must be 1 to 20 of a-z, 0-9 and -, beginning with a letter');
    require(drive.path.startsWith('/'), `drives[${i}].path`, 'must be absolute');
  });
  machine.nics.forEach((nic, i) => {
    require(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(nic.mac), `nics[${i}].mac`, 'must be six hex pairs');
    if (nic.kind === 'tap') require(/^[A-Za-z0-9_.-]{1,15}$/.test(nic.device ?? ''), `nics[${i}].device`, 'must name an interface');
    else {
      require(/^[0-9.]+\/[0-9]+$/.test(nic.cidr ?? ''), `nics[${i}].cidr`, 'must be a network');
      require(/^[0-9.]+$/.test(nic.gateway ?? ''), `nics[${i}].gateway`, 'must be an address');
      // QEMU's own user network offers the loopback of the namespace it runs in, so that must not be the host's.
      require(machine.netnsPidFile !== undefined, `nics[${i}]`, 'needs a network namespace');
    }
  });
  if (issues.length > 0) throw badRequest(issues, 'machine');
}
