// What the metrics text holds: names, units and where each value comes from. What happens inside a guest has the names of OpenTelemetry's system
// conventions, what its VMM takes of the host those of its process conventions; the rest is ours. The table is in the plugin's README.
import type { VmStats } from '../../../core/api.ts';

/** What is known of one VM. */
export interface VmMetrics extends Pick<VmStats, 'vm' | 'state' | 'host' | 'guest' | 'network' | 'uptimeSeconds' | 'disks' | 'use' | 'problem'> {
  readonly driver: string;
  readonly image: string;
}
/** Labels beside those that name the VM, and the value. */
export type Sample = readonly [labels: Readonly<Record<string, string>>, value: number];
export interface Family {
  /** With its unit at the end, and without `_total` or `_info`. */
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'info' | 'stateset';
  readonly unit?: 'bytes' | 'seconds';
  readonly help: string;
  samples(vm: VmMetrics): readonly Sample[];
}

const one = (value: number | undefined, labels: Readonly<Record<string, string>> = {}): readonly Sample[] => (value === undefined ? [] : [[labels, value]]);

const vmFamilies: readonly Family[] = [
  { name: 'banger_vm', type: 'info', help: 'What a VM was made of.', samples: (vm) => one(1, { driver: vm.driver, image: vm.image }) },
  {
    name: 'banger_vm_state', type: 'stateset', help: 'State of a VM.',
    samples: (vm) => (['running', 'paused', 'stopped'] as const).map((state) => [{ banger_vm_state: state }, vm.state === state ? 1 : 0]),
  },
  {
    name: 'banger_vm_answering', type: 'gauge', help: 'Whether the guest agent of a running VM answered when it was last asked.',
    samples: (vm) => (vm.state === 'stopped' ? [] : one(vm.problem === undefined ? 1 : 0)),
  },
  {
    name: 'banger_vm_disk_allocated_bytes', type: 'gauge', unit: 'bytes', help: 'What a disk of a VM takes on the host.',
    samples: (vm) => vm.disks.map((disk) => [{ disk: disk.id }, disk.allocatedBytes]),
  },
  {
    name: 'banger_vm_disk_size_bytes', type: 'gauge', unit: 'bytes', help: 'Size of a disk as the guest sees it.',
    samples: (vm) => vm.disks.map((disk) => [{ disk: disk.id }, disk.virtualBytes]),
  },
  {
    name: 'banger_vm_last_use_timestamp_seconds', type: 'gauge', unit: 'seconds', help: 'When a running VM was last used, in seconds since the epoch.',
    samples: ({ use }) => one(use.lastUsedAt === undefined ? undefined : Date.parse(use.lastUsedAt) / 1000),
  },
  {
    name: 'banger_vm_use_holds', type: 'gauge', help: 'Sessions and connections that keep a running VM in use.',
    samples: (vm) => (vm.state === 'stopped' ? [] : one(vm.use.holds.length)),
  },
];

const hostFamilies: readonly Family[] = [
  { name: 'process_cpu_time_seconds', type: 'counter', unit: 'seconds', help: 'CPU time that the VMM of a VM used.', samples: (vm) => one(vm.host?.cpuSeconds) },
  { name: 'process_memory_usage_bytes', type: 'gauge', unit: 'bytes', help: 'Resident memory of the VMM of a VM.', samples: (vm) => one(vm.host?.rssBytes) },
  { name: 'process_thread_count', type: 'gauge', help: 'Threads of the VMM of a VM.', samples: (vm) => one(vm.host?.threads) },
  { name: 'process_uptime_seconds', type: 'gauge', unit: 'seconds', help: 'Time since the VMM of a VM was started.', samples: (vm) => one(vm.uptimeSeconds) },
];

const guestFamilies: readonly Family[] = [
  {
    name: 'system_cpu_time_seconds', type: 'counter', unit: 'seconds', help: 'Time that the CPUs of a guest spent in each mode, by its own word.',
    samples: ({ guest }) => (guest?.cpu === undefined ? []
      : [[{ cpu_mode: 'busy' }, guest.cpu.busySeconds], [{ cpu_mode: 'idle' }, guest.cpu.idleSeconds], [{ cpu_mode: 'steal' }, guest.cpu.stolenSeconds]]),
  },
  { name: 'system_cpu_load_average_1m', type: 'gauge', help: 'Load of a guest over one minute, by its own word.', samples: ({ guest }) => one(guest?.load?.[0]) },
  { name: 'system_memory_limit_bytes', type: 'gauge', unit: 'bytes', help: 'Memory of a guest, by its own word.', samples: ({ guest }) => one(guest?.memory?.totalBytes) },
  {
    name: 'system_memory_usage_bytes', type: 'gauge', unit: 'bytes', help: 'Memory in use in a guest, by its own word.',
    samples: ({ guest }) => one(guest?.memory?.usedBytes, { system_memory_state: 'used' }),
  },
  {
    name: 'system_memory_linux_available_bytes', type: 'gauge', unit: 'bytes', help: 'Memory that new programs of a guest can have, by its own word.',
    samples: ({ guest }) => one(guest?.memory?.availableBytes),
  },
  {
    name: 'system_filesystem_limit_bytes', type: 'gauge', unit: 'bytes', help: 'Size of a file system of a guest, by its own word.',
    samples: ({ guest }) => guest?.fileSystems.map((fs) => [{ system_filesystem_mountpoint: fs.path }, fs.totalBytes] as const) ?? [],
  },
  {
    name: 'system_filesystem_usage_bytes', type: 'gauge', unit: 'bytes', help: 'Use of a file system of a guest, by its own word.',
    samples: ({ guest }) => guest?.fileSystems.flatMap((fs) => ([['used', fs.usedBytes], ['free', fs.availableBytes]] as const)
      .map(([state, value]) => [{ system_filesystem_mountpoint: fs.path, system_filesystem_state: state }, value] as const)) ?? [],
  },
  {
    name: 'system_network_io_bytes', type: 'counter', unit: 'bytes', help: 'Bytes over the network interfaces of a guest, by its own word.',
    samples: ({ network }) => (network === undefined ? [] : [[{ network_io_direction: 'receive' }, network.rxBytes], [{ network_io_direction: 'transmit' }, network.txBytes]]),
  },
  { name: 'system_uptime_seconds', type: 'gauge', unit: 'seconds', help: 'Time since a guest booted, by its own word.', samples: ({ guest }) => one(guest?.uptimeSeconds) },
];

export const families: readonly Family[] = [...vmFamilies, ...hostFamilies, ...guestFamilies];
