// Shapes on the wire of what VMs are doing, for core/api.ts.

export interface VmName { readonly id: string; readonly name: string }
export interface VmStatsParams {
  /** @default every VM */
  readonly refs?: readonly string[] | undefined;
  /** false: answers at once with the last that is known of the guests, and asks them for the next time. @default true */
  readonly wait?: boolean | undefined;
}
/** The VMM's process, as the host's kernel sees it. */
export interface VmHostFigures {
  readonly cpuSeconds: number;
  /** Of one CPU; absent until there are two measurements. */
  readonly cpuPercent?: number;
  readonly rssBytes: number;
  /** Its share of what it shares with others; only where a guest was waited for. */
  readonly pssBytes?: number;
  readonly threads: number;
}
/** What the guest says of itself: its word, bounded by the host. Absent: it did not tell. */
export interface VmGuestFigures {
  /** All CPUs together, since the guest booted. `idle` includes waiting for disks; `stolen` is what the host did not give. */
  readonly cpu?: { readonly busySeconds: number; readonly idleSeconds: number; readonly stolenSeconds: number };
  /** Busy, of one CPU, in the time that the guest has counted; absent until there are two measurements. */
  readonly cpuPercent?: number;
  /** `used`: what is not available to programs. */
  readonly memory?: { readonly totalBytes: number; readonly usedBytes: number; readonly availableBytes: number; readonly swapTotalBytes: number; readonly swapFreeBytes: number };
  /** Over 1, 5 and 15 minutes. */
  readonly load?: readonly [number, number, number];
  /** Threads. */
  readonly tasks?: { readonly running: number; readonly all: number };
  readonly uptimeSeconds?: number;
  /** `/`, and `/root` where that is a file system of its own; as `df` says it. */
  readonly fileSystems: readonly { readonly path: string; readonly totalBytes: number; readonly usedBytes: number; readonly availableBytes: number; readonly inodes: number; readonly freeInodes: number }[];
  /** What the guest told that makes no sense, by name. */
  readonly odd: readonly string[];
}
export interface VmDiskFigures {
  readonly id: string;
  /** Taken on the host. */
  readonly allocatedBytes: number;
  readonly virtualBytes: number;
}
export interface VmStats {
  readonly vm: VmName;
  /** stopped: every state without a VMM. */
  readonly state: 'running' | 'paused' | 'stopped';
  /** RFC 3339: when the figures were taken. */
  readonly at: string;
  /** The same of what the guest told (`guest`, `network`): a guest that fell silent told it long before. */
  readonly guestAt?: string;
  /** The last that was known of a VM that does not run. */
  readonly stale: boolean;
  readonly host?: VmHostFigures;
  readonly guest?: VmGuestFigures;
  readonly disks: readonly VmDiskFigures[];
  /** Hardware interfaces of the guest, since it booted: the guest's word. */
  readonly network?: { readonly rxBytes: number; readonly txBytes: number };
  /** Since the VMM was started. */
  readonly uptimeSeconds?: number;
  readonly memoryMiB: number;
  readonly use: {
    /** RFC 3339; absent for a VM that has not run since the daemon started. */
    readonly lastUsedAt?: string;
    /** What keeps it in use now, for people. */
    readonly holds: readonly string[];
  };
  /** Why figures of a running VM are missing: one sentence. */
  readonly problem?: string;
}
export interface VmStatsResult { readonly stats: readonly VmStats[] }
export interface VmHealth {
  readonly vm: VmName;
  readonly state: VmStats['state'];
  /** The guest agent of the running VM answered a question. */
  readonly healthy: boolean;
  /** Why it is not healthy: one sentence. */
  readonly reason?: string;
  /** How long the answer took. */
  readonly answeredMs?: number;
  /** What the guest is short of, for people. */
  readonly warnings: readonly string[];
}
export interface VmPing { readonly vm: VmName; readonly alive: boolean; readonly answeredMs?: number; readonly reason?: string }

/** What failed for one of several VMs. */
export interface VmProblem { readonly code: string; readonly message: string; readonly hint?: string | undefined }
export interface VmPortsParams {
  /** @default every running VM */
  readonly refs?: readonly string[] | undefined;
  /** Look for http and https. @default true */
  readonly probe?: boolean | undefined;
}
/** A port on which something listens in the guest: its word. IPv4 and IPv6 are one row. */
export interface VmPort {
  readonly protocol: 'tcp' | 'udp';
  readonly port: number;
  readonly addresses: readonly string[];
  readonly process?: string | undefined;
  readonly pid?: number | undefined;
  /** Address and port that work from this host; else `why` not. */
  readonly endpoint?: string | undefined;
  readonly why?: string | undefined;
  /** Where it speaks http or https. */
  readonly url?: string | undefined;
}
export interface VmPortsResult {
  readonly vms: readonly {
    readonly vm: VmName;
    readonly ports: readonly VmPort[];
    /** Listeners beyond what the guest's agent tells of. */
    readonly more: number;
    readonly error?: VmProblem | undefined;
  }[];
}
/** A port of the guest that this host offers. */
export interface VmForward {
  readonly protocol: 'tcp' | 'udp';
  readonly address: string;
  readonly hostPort: number;
  readonly guestPort: number;
  /** Where in the guest connections are made. */
  readonly guestHost: string;
  /** `auto`: as long as something listens there. `added`: until the VM stops. */
  readonly source: 'published' | 'auto' | 'added';
}
export interface VmPortAddParams {
  readonly ref: string;
  readonly guestPort: number;
  /** @default the guest's, or a high one where that is kept for root */
  readonly hostPort?: number | undefined;
  /** @default the VM's own */
  readonly address?: string | undefined;
  /** @default tcp */
  readonly protocol?: 'tcp' | 'udp' | undefined;
}
export type VmPortRmParams = Omit<VmPortAddParams, 'guestPort' | 'hostPort'> & { readonly hostPort: number };
export interface VmPortListResult {
  readonly vms: readonly {
    readonly vm: VmName;
    /** The VM's own. */
    readonly address: string;
    /** Ports that open are forwarded by themselves. */
    readonly auto: boolean;
    readonly forwards: readonly VmForward[];
    readonly unforwarded: readonly { readonly protocol: 'tcp' | 'udp'; readonly guestPort: number; readonly why: string }[];
    /** Sentences about what is not as one might expect. */
    readonly notices: readonly string[];
    readonly error?: VmProblem | undefined;
  }[];
}
