// What the metrics text holds: names, units and where each value comes from. What happens inside a guest has the names of OpenTelemetry's system
// conventions, what its VMM takes of the host those of its process conventions; the rest is ours. The table is in the plugin's README.
import type { VmStats } from '../../../core/api.ts';

/** What is known of one VM. */
export interface VmMetrics extends Pick<VmStats, 'vm' | 'state' | 'host' | 'guest' | 'network' | 'uptimeSeconds' | 'disks' | 'use' | 'problem'> {
  readonly driver: string;
  readonly image: string;
}
/** Takes a sample: the value, and labels beside those that name the VM as `labelText` writes them. Without a value there is none. */
export type Add = (value: number | undefined, labels?: string) => void;
export interface Family {
  /** With its unit at the end, and without `_total` or `_info`. */
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'info' | 'stateset';
  readonly unit?: 'bytes' | 'seconds';
  readonly help: string;
  samples(vm: VmMetrics, add: Add): void;
}

/** `name="value"`; a value may hold anything but three characters as they are. */
export function labelText(name: string, value: string): string {
  // Tens of thousands of labels in a text, and hardly one that needs more than this look.
  const safe = /[\\"\n]/.test(value) ? value.replaceAll('\\', '\\\\').replaceAll('"', String.raw`\"`).replaceAll('\n', String.raw`\n`) : value;
  return `${name}="${safe}"`;
}
const mode = (value: string): string => labelText('cpu_mode', value);
const states = (['running', 'paused', 'stopped'] as const).map((state) => [state, labelText('banger_vm_state', state)] as const);
const labels = {
  busy: mode('busy'), idle: mode('idle'), steal: mode('steal'), usedMemory: labelText('system_memory_state', 'used'),
  receive: labelText('network_io_direction', 'receive'), transmit: labelText('network_io_direction', 'transmit'),
  used: labelText('system_filesystem_state', 'used'), free: labelText('system_filesystem_state', 'free'),
} as const;
const mountpoint = (path: string): string => labelText('system_filesystem_mountpoint', path);

const vmFamilies: readonly Family[] = [
  { name: 'banger_vm', type: 'info', help: 'What a VM was made of.', samples: ({ vm, driver, image }, add) => add(1, `${labelText('vm_id', vm.id)},${labelText('driver', driver)},${labelText('image', image)}`) },
  {
    name: 'banger_vm_state', type: 'stateset', help: 'State of a VM.',
    samples(vm, add) {
      for (const [state, text] of states) add(vm.state === state ? 1 : 0, text);
    },
  },
  {
    name: 'banger_vm_answering', type: 'gauge', help: 'Whether the guest agent of a running VM answered when it was last asked.',
    samples: (vm, add) => add(vm.state === 'stopped' ? undefined : vm.problem === undefined ? 1 : 0),
  },
  {
    name: 'banger_vm_disk_allocated_bytes', type: 'gauge', unit: 'bytes', help: 'What a disk of a VM takes on the host.',
    samples(vm, add) {
      for (const disk of vm.disks) add(disk.allocatedBytes, labelText('disk', disk.id));
    },
  },
  {
    name: 'banger_vm_disk_size_bytes', type: 'gauge', unit: 'bytes', help: 'Size of a disk as the guest sees it.',
    samples(vm, add) {
      for (const disk of vm.disks) add(disk.virtualBytes, labelText('disk', disk.id));
    },
  },
  {
    name: 'banger_vm_last_use_timestamp_seconds', type: 'gauge', unit: 'seconds', help: 'When a running VM was last used, in seconds since the epoch.',
    samples: ({ use }, add) => add(use.lastUsedAt === undefined ? undefined : Date.parse(use.lastUsedAt) / 1000),
  },
  {
    name: 'banger_vm_use_holds', type: 'gauge', help: 'Sessions and connections that keep a running VM in use.',
    samples: (vm, add) => add(vm.state === 'stopped' ? undefined : vm.use.holds.length),
  },
];

const hostFamilies: readonly Family[] = [
  { name: 'process_cpu_time_seconds', type: 'counter', unit: 'seconds', help: 'CPU time that the VMM of a VM used.', samples: (vm, add) => add(vm.host?.cpuSeconds) },
  { name: 'process_memory_usage_bytes', type: 'gauge', unit: 'bytes', help: 'Resident memory of the VMM of a VM.', samples: (vm, add) => add(vm.host?.rssBytes) },
  { name: 'process_thread_count', type: 'gauge', help: 'Threads of the VMM of a VM.', samples: (vm, add) => add(vm.host?.threads) },
  { name: 'process_uptime_seconds', type: 'gauge', unit: 'seconds', help: 'Time since the VMM of a VM was started.', samples: (vm, add) => add(vm.uptimeSeconds) },
];

const guestFamilies: readonly Family[] = [
  {
    name: 'system_cpu_time_seconds', type: 'counter', unit: 'seconds', help: 'Time that the CPUs of a guest spent in each mode, by its own word.',
    samples({ guest }, add) {
      add(guest?.cpu?.busySeconds, labels.busy);
      add(guest?.cpu?.idleSeconds, labels.idle);
      add(guest?.cpu?.stolenSeconds, labels.steal);
    },
  },
  { name: 'system_cpu_load_average_1m', type: 'gauge', help: 'Load of a guest over one minute, by its own word.', samples: ({ guest }, add) => add(guest?.load?.[0]) },
  { name: 'system_memory_limit_bytes', type: 'gauge', unit: 'bytes', help: 'Memory of a guest, by its own word.', samples: ({ guest }, add) => add(guest?.memory?.totalBytes) },
  {
    name: 'system_memory_usage_bytes', type: 'gauge', unit: 'bytes', help: 'Memory in use in a guest, by its own word.',
    samples: ({ guest }, add) => add(guest?.memory?.usedBytes, labels.usedMemory),
  },
  {
    name: 'system_memory_linux_available_bytes', type: 'gauge', unit: 'bytes', help: 'Memory that new programs of a guest can have, by its own word.',
    samples: ({ guest }, add) => add(guest?.memory?.availableBytes),
  },
  {
    name: 'system_filesystem_limit_bytes', type: 'gauge', unit: 'bytes', help: 'Size of a file system of a guest, by its own word.',
    samples({ guest }, add) {
      for (const fs of guest?.fileSystems ?? []) add(fs.totalBytes, mountpoint(fs.path));
    },
  },
  {
    name: 'system_filesystem_usage_bytes', type: 'gauge', unit: 'bytes', help: 'Use of a file system of a guest, by its own word.',
    samples({ guest }, add) {
      for (const fs of guest?.fileSystems ?? []) {
        add(fs.usedBytes, `${mountpoint(fs.path)},${labels.used}`);
        add(fs.availableBytes, `${mountpoint(fs.path)},${labels.free}`);
      }
    },
  },
  {
    name: 'system_network_io_bytes', type: 'counter', unit: 'bytes', help: 'Bytes over the network interfaces of a guest, by its own word.',
    samples({ network }, add) {
      add(network?.rxBytes, labels.receive);
      add(network?.txBytes, labels.transmit);
    },
  },
  { name: 'system_uptime_seconds', type: 'gauge', unit: 'seconds', help: 'Time since a guest booted, by its own word.', samples: ({ guest }, add) => add(guest?.uptimeSeconds) },
];

export const families: readonly Family[] = [...vmFamilies, ...hostFamilies, ...guestFamilies];
