// PUBLIC: the data that crosses rooms. Types only, except for the phase list.

/** A value that survives JSON without loss; everything kept in the ledger is one. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };

/** Coarse order of a start. Inside a phase the plugin graph decides, then declaration order. */
export const phases = ['preflight', 'storage', 'guest', 'network', 'boot', 'ready', 'publish'] as const;
export type Phase = (typeof phases)[number];

export type VmState = 'created' | 'starting' | 'running' | 'paused' | 'stopping' | 'stopped' | 'error';
export type InitMode = 'auto' | 'image' | 'agent';

/** What the user asked for. Plugins keep their part under their own name in `sections`. */
export interface VmSpec {
  /** Image id as the `Images` capability resolved it at creation. */
  readonly image: string;
  /** Name the user gave for the image. */
  readonly imageName: string;
  /** Kernel id as the `Kernels` capability resolved it at creation. */
  readonly kernel: string;
  /** Name of the plugin whose `VmmDriver` runs this VM. */
  readonly driver: string;
  readonly vcpu: number;
  readonly memoryMiB: number;
  readonly init: InitMode;
  /** Environment of every command run in the guest. */
  readonly env: Readonly<Record<string, string>>;
  /** Parsed plugin sections by plugin name. */
  readonly sections: Readonly<Record<string, Json>>;
}

/** One VM as plugins see it. */
export interface Vm {
  /** 12 lower-case hex digits, random. */
  readonly id: string;
  /** DNS label, unique among this daemon's VMs. */
  readonly name: string;
  /** Small integer from 1, unique among this daemon's VMs for the VM's life: plugins derive addresses and uids from it. */
  readonly slot: number;
  /** `<install id>/<vm id>`: what every host object of this VM bears. */
  readonly mark: string;
  /** The VM's directory in the state directory, absolute. Files here belong to the VM's steps. */
  readonly dir: string;
  readonly spec: VmSpec;
  /** RFC 3339. */
  readonly createdAt: string;
}

/** A process, known beyond reuse of its pid (boot id of the host, pid, field 22 of /proc/PID/stat). */
export interface ProcessIdentity {
  readonly hostBootId: string;
  readonly pid: number;
  /** Clock ticks after host boot, as decimal text. */
  readonly startTime: string;
}

export interface Drive {
  /** At most 20 characters of [a-z0-9-]; becomes the virtio serial, by which the guest finds it. `root` is the root disk. */
  readonly id: string;
  readonly path: string;
  readonly format: 'raw' | 'qcow2';
  readonly readonly: boolean;
}

/** A network interface of the guest. `user`: the driver's own user-mode network inside `netns`. `tap`: an existing TAP device. */
export interface Nic {
  readonly kind: 'user' | 'tap';
  /** Colon-separated, locally administered. */
  readonly mac: string;
  /** Only for `tap`. */
  readonly device?: string;
  /** Only for `user`: guest network as CIDR and the gateway address in it. */
  readonly cidr?: string;
  readonly gateway?: string;
}

/** The machine a driver builds. Folded from plugin contributions before the first step runs. */
export interface MachineSpec {
  readonly kernelPath: string;
  /** Kernel command line words; drivers add their console. */
  readonly cmdline: readonly string[];
  /** One file: the kernel's initrd with the VM's own archive appended. Written by a step of phase `guest`. */
  readonly initrdPath: string;
  readonly vcpu: number;
  readonly memoryMiB: number;
  /** In guest order: the first is /dev/vda. */
  readonly drives: readonly Drive[];
  readonly nics: readonly Nic[];
  /** File holding the pid of a process whose user and network namespaces the VMM joins; absent: a fresh empty network namespace. */
  readonly netnsPidFile?: string;
}

export interface GuestFile { readonly path: string; readonly mode: number; readonly content: string }
export interface GuestMount {
  /** Drive id. */
  readonly drive: string;
  readonly target: string;
  readonly fstype: string;
  /** On the first mount of an empty file system, copy the image's directory at `target` into it. */
  readonly seedFromImage: boolean;
}
export interface GuestNetwork {
  readonly mac: string;
  /** Address with prefix length, such as 10.0.3.15/24. */
  readonly address: string;
  readonly gateway: string;
  readonly nameservers: readonly string[];
  readonly mtu: number;
}

/** What the guest is told at boot through its own archive. Never holds a host-side key. */
export interface GuestPatch {
  readonly hostname: string;
  readonly init: InitMode;
  readonly mounts: readonly GuestMount[];
  readonly network?: GuestNetwork;
  /** Lines of /etc/hosts beside those of localhost and the guest itself; 8 at most. */
  readonly hosts?: readonly { readonly address: string; readonly name: string }[];
  /** Extra files put in place before the image's init starts, below /run. */
  readonly files: readonly GuestFile[];
  /** Image configuration: environment, and the init the image names, when it has one. */
  readonly env: Readonly<Record<string, string>>;
}

/** A host object, as `doctor --leaks` compares it with the ledger. */
export interface HostResource {
  /** Such as process, file, directory, socket, netns, address. */
  readonly kind: string;
  /** Unique within the kind; for people to read. */
  readonly name: string;
  /** VM it belongs to, from its mark; absent when it belongs to none. */
  readonly vmId?: string;
  /** Step or job that makes such objects. */
  readonly step: string;
  remove(): Promise<void>;
}

/** One step of a finished or running operation. */
export interface TimelineEntry {
  readonly name: string;
  readonly plugin: string;
  /** Milliseconds after the operation began. */
  readonly atMs: number;
  /** Absent while it runs. */
  readonly durationMs?: number;
  readonly outcome?: 'ok' | 'failed' | 'skipped';
}
