// PUBLIC: the slots core itself fills, and those core needs filled. Interfaces are asynchronous and JSON-friendly where a
// plugin fills them, so that out-of-process plugins need no new contract.
import type { Duplex, Readable, Writable } from 'node:stream';
import { capability } from './plugin-api.ts';
import type { Logger } from './plugin-api.ts';
import type { OperationView } from './api.ts';
import type { Drive, GuestNetwork, Json, ProcessIdentity, Vm } from './model.ts';

// ---- filled by core ------------------------------------------------------------------------------------------------

export interface ExecOptions {
  /** @default 60000 */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  readonly input?: string | Uint8Array;
  /** In place of `input`: stdin is a pipe with nothing on it, whose end comes when this settles; for a program to which that end is a word. */
  readonly stdinUntil?: Promise<unknown>;
  readonly cwd?: string;
  /** Added to a minimal environment (PATH with the sbin directories, HOME, LANG=C.UTF-8, TMPDIR when set). */
  readonly env?: Readonly<Record<string, string>>;
  /** `BANGER_MARK` of the process group, so that it is found after a crash. */
  readonly mark?: string;
  /** How stdout becomes text. `latin1`: a character a byte, for names that are bytes. @default utf8 */
  readonly encoding?: 'utf8' | 'latin1';
  /** Output kept per stream; more is cut at the front. @default 1 MiB */
  readonly maxOutputBytes?: number;
  /** Each line of stdout and stderr as it comes, for progress. */
  readonly onLine?: (line: string) => void;
  /** Words of `args` not to show in errors and logs. */
  readonly redact?: readonly string[];
  /** Exit codes that are not errors. @default [0] */
  readonly okCodes?: readonly number[];
}
export interface ExecResult { readonly stdout: string; readonly stderr: string; readonly exitCode: number; readonly durationMs: number }
/** Runs host programs: argument arrays, never a shell, always bounded; the whole process group ends with the call. */
export interface Exec {
  /** @throws operation_failed with program, args, exit code or signal, last 20 lines of stderr. */
  run(program: string, args: readonly string[], options?: ExecOptions): Promise<ExecResult>;
  /**
   * Starts a process that outlives the daemon (own session, no stdio of ours) and returns its identity. `stdoutLine`: resolves only after
   * the first line of stdout, given to the caller (readiness); the pipe is then closed on our side.
   */
  spawnDetached(program: string, args: readonly string[], options: {
    readonly env?: Readonly<Record<string, string>>; readonly cwd?: string; readonly mark: string;
    readonly logFile: string; readonly readyLine?: { readonly timeoutMs: number };
  }): Promise<{ readonly process: ProcessIdentity; readonly line?: string }>;
  /** Absolute path of a program in PATH or the sbin directories. */
  find(program: string): Promise<string | undefined>;
}
export const Exec = capability<Exec>('exec@1');

/** Identity and end of processes. States Z and X count as dead. */
export interface Processes {
  readonly hostBootId: string;
  /** `undefined` when there is no such live process. */
  identify(pid: number): ProcessIdentity | undefined;
  isAlive(process: ProcessIdentity): boolean;
  /** TERM (when `graceMs` > 0), then KILL; resolves when gone. Does nothing to a reused pid. @throws timeout */
  end(process: ProcessIdentity, options: { readonly graceMs: number; readonly limitMs?: number }): Promise<void>;
  /** Every live process whose environment has exactly `BANGER_MARK=<mark>`, or one that begins with it when `prefix`. */
  findByMark(mark: string, options?: { readonly prefix?: boolean }): { readonly process: ProcessIdentity; readonly mark: string; readonly command: string }[];
}
export const Processes = capability<Processes>('processes@1');

/** Live VMs, for plugins that watch or look up. Read only. */
export interface Vms {
  get(id: string): Vm | undefined;
  list(): readonly Vm[];
  /** A paused VM counts as running. */
  isRunning(id: string): boolean;
  /** The lifeline's process of a running VM. */
  process(id: string): ProcessIdentity | undefined;
  /**
   * A driver or agent reports what it learned about how the VM ends ("guest poweroff"); core checks the process at once and tears down when it is gone.
   * The first word but `unknown` counts.
   */
  ended(id: string, reason: VmEndReason, more?: VmEndDetail): void;
  /** The VM's driver tells that it holds the guest's CPUs still, or no more. Forgotten when the VM ends; told again when a VM is adopted. */
  paused(id: string, isPaused: boolean): void;
  isPaused(id: string): boolean;
  /** Rebooted by the guest: counted and shown. */
  rebooted(id: string): void;
  /** One sentence about a running VM, shown as its state reason until it stops or the next note; an empty text clears it. */
  note(id: string, text: string): void;
  onChange(listener: (event: { readonly kind: 'started' | 'stopped' | 'deleted'; readonly vm: Vm }) => void): () => void;
  /** By id, name, or a beginning of one that fits a single VM. @throws not_found; ambiguous_ref */
  resolve(ref: string): Vm;
  /**
   * The running VM a reference means. After a daemon restart it waits until recovery has let go of the VM, which its steps' limits bound.
   * @throws not_found; ambiguous_ref; not_running; cancelled
   */
  running(ref: string, signal: AbortSignal): Promise<Vm>;
}
/** `killed`: by a call of ours. `vmm-killed`: by somebody else. `disk-full`: of the host, and the VMM ended of it. */
export type VmEndReason = 'guest-poweroff' | 'guest-panic' | 'stopped' | 'unused' | 'killed' | 'vmm-killed' | 'out-of-memory' | 'vmm-died' | 'disk-full' | 'unknown';
/** What a driver knows of an end beyond the reason. */
export interface VmEndDetail {
  /** Lines for people: first what the reason is in particular, then what it is known from, such as the console's last lines; the guest may have written them. */
  readonly detail?: readonly string[];
  /** When it ended, RFC 3339. @default now */
  readonly at?: string;
}
export interface VmEnd extends VmEndDetail { readonly reason: VmEndReason }
export const Vms = capability<Vms>('vms@1');

/** Who uses a VM: what keeps it from being stopped as stale. Kept in memory; after a restart of the daemon every VM counts as used just now. */
export interface VmUse {
  /** Used at this moment. */
  touch(id: string): void;
  /** In use until the returned function is called (again does nothing); that is a touch, too. `what` is for people: "ssh session". */
  hold(id: string, what: string): () => void;
  /** `lastUsedAt`: milliseconds since the epoch; never before the VM's start. */
  of(id: string): { readonly lastUsedAt: number; readonly holds: readonly string[] };
}
export const VmUse = capability<VmUse>('vm-use@1');

/** Ends VMs that nobody uses, as `vm.stop` does, under the VM's lock. */
export interface VmTeardown {
  /**
   * Looks once more with the lock in hand: `in use` when it was used since, is held, its guest runs a detached command or ran one in that time, or cannot say
   * whether it does.
   * Does not wait for a lock that another verb holds: that is a use.
   */
  stopUnused(id: string, options: { readonly unusedForMs: number; readonly signal: AbortSignal }): Promise<'stopped' | 'in use' | 'not running'>;
}
export const VmTeardown = capability<VmTeardown>('vm-teardown@1');

/** Where things lie and which daemon this is. */
export interface HostInfo {
  /** 8 hex digits, made once per state directory; first part of every mark. */
  readonly installId: string;
  readonly stateDir: string;
  readonly cacheDir: string;
  /** Directory of the built programs for host and guest (`dist/native`). */
  readonly nativeDir: string;
  /** Our uid; 0 means privileged steps run in-process. */
  readonly uid: number;
  /** Absolute path of a socket for a VM, at most 107 bytes by construction; `name` at most 12 characters. */
  socketPath(vmId: string, name: string): string;
  /** Unprivileged uid that a VM's processes run as when the daemon is root; undefined otherwise. */
  vmUid(vm: Vm): number | undefined;
  /** Multiplier of guest-side deadlines: 4 under software emulation, else 1. Set by the driver at setup. */
  slowdown: number;
}
export const HostInfo = capability<HostInfo>('host-info@1');

/** What keeps the daemon from being replaced or ending by itself, beyond clients, operations and running VMs. */
export interface Activity {
  /** Counts as in use until the returned function is called (again does nothing). `what` is for the log. */
  hold(what: string): () => void;
}
export const Activity = capability<Activity>('activity@1');

/** Long-running work of this daemon: what runs, and what ended in the last 24 hours (200 at most). */
export interface Operations {
  /** Fresh copies, oldest first. */
  list(): readonly OperationView[];
  /** @throws not_found */
  show(id: string): OperationView;
  /** Asks it to end; it undoes what it began before it does. Does nothing to a finished one. @throws not_found */
  cancel(id: string): void;
}
export const Operations = capability<Operations>('operations@1');

// ---- filled by plugins, used by core -------------------------------------------------------------------------------

/** Controls VMMs of one kind. The driver's own step (phase `boot`, `lifeline`) starts them. */
export interface VmmDriver {
  /** Whether it can run on this host now, for the choice of a default. Higher preference wins. */
  available(): Promise<{ readonly ok: boolean; readonly preference: number; readonly reason?: string; readonly accelerator?: string }>;
  /** One byte stream to the guest agent. @throws not_running; timeout */
  connectAgent(vm: Vm, signal: AbortSignal): Promise<Duplex>;
  /** The guest's serial console, both ways; one client at a time. Absent: there is none. @throws not_running; busy */
  connectConsole?(vm: Vm, signal: AbortSignal): Promise<Duplex>;
  /**
   * Path of a unix socket that is the host's end of the guest's port for bulk data; one client at a time. Undefined: this VM has no such port.
   * A program of the host may connect to it, past the daemon. Absent: the driver has none.
   */
  bulkSocket?(vm: Vm): string | undefined;
  /** Holds the guest's CPUs still, its memory kept; resolves when they are. Does nothing to a paused VM. Absent: the driver cannot. @throws not_running; timeout */
  pause?(vm: Vm, signal: AbortSignal): Promise<void>;
  /** @throws not_running; timeout */
  resume?(vm: Vm, signal: AbortSignal): Promise<void>;
  /** Drive formats in order of preference. */
  readonly driveFormats: readonly Drive['format'][];
  /** Bytes of the console log kept, oldest first: file paths, oldest first; may not exist. */
  consoleLogs(vm: Vm): readonly string[];
  /** The same by boot, oldest first; only files that exist. Absent: the driver does not tell one boot from the next. */
  consoleBoots?(vm: Vm): readonly ConsoleBoot[];
}
/** The console log of one boot: a start of the VM, or a reboot by its guest. */
export interface ConsoleBoot {
  /** Counted from 1 since the VM was created. */
  readonly boot: number;
  readonly files: readonly string[];
}
export const VmmDriver = capability<VmmDriver>('vmm-driver@1', 'many');

export interface AgentInfo {
  readonly version: string;
  readonly protocol: number;
  /** /proc/sys/kernel/random/boot_id of the guest. */
  readonly bootId: string;
  /** What PID 1 is: our agent, or the image's init. */
  readonly init: 'agent' | 'image';
}
export interface GuestExecRequest {
  /** Words, run without a shell. Empty: the user's login shell. */
  readonly command: readonly string[];
  /**
   * One line for the user's shell (`shell -c line`), in place of `command`. Where the guest has no such shell it is split into words
   * (quotes and backslashes, nothing else) and run directly.
   */
  readonly line?: string;
  /** Through the user's shell as a login shell: `command` is quoted for it. @default false */
  readonly login?: boolean;
  /** Runs the guest agent's own program in place of a command of the guest, as the user; `command` is its arguments (`sftp`, `copy ...`). */
  readonly builtin?: boolean;
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly user?: string;
  readonly tty?: { readonly cols: number; readonly rows: number; readonly term: string };
  /** false: stdin is /dev/null. */
  readonly stdin: boolean;
  /** Not a use of the VM: what the daemon asks by itself, such as figures. @default false */
  readonly background?: boolean;
  /** With `builtin`: the guest's port for bulk data (`GuestAgent.bulkSocket`) in place of this stream, which then carries nothing here. One process at a time can have it. */
  readonly bulk?: 'stdin' | 'stdout';
}
export type GuestExit = { readonly code: number } | { readonly signal: string; readonly number: number };
export interface GuestProcess {
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Ends at once with a terminal. */
  readonly stderr: Readable;
  /** After all output has been delivered to the streams' buffers. Rejects when the session is lost. */
  readonly exit: Promise<GuestExit>;
  resize(cols: number, rows: number): void;
  /** Name without SIG. */
  signal(name: string): void;
  /** Client gone: HUP to the process group, KILL 5 s later. */
  hangup(): void;
}
/** Where a connection made inside the guest goes. A name is resolved by the guest. `path`: a unix socket, reached as `user` (default root). */
export type GuestTarget =
  | { readonly host: string; readonly port: number }
  | { readonly path: string; readonly user?: string };
/** Where a listener inside the guest listens: an address, `localhost` (both loopback addresses) or `*`; port 0: any. A unix socket is made as `user`, 0600. */
export type GuestListenTarget = GuestTarget;
export interface GuestListener {
  /** The port it got; 0 for a unix socket. */
  readonly port: number;
  /** Settles when it is over: closed, or the session was lost. Never rejects. */
  readonly closed: Promise<void>;
  /** Ends it; connections it has given stay. A unix socket's file is removed. */
  close(): void;
}
export interface GuestPeer { readonly host: string; readonly port: number }

/** Of a paused VM everything but `bulkSocket` throws wrong_state at once. */
export interface GuestAgent {
  /** Waits for the session. @throws timeout, not_running */
  info(vm: Vm, options?: { readonly signal?: AbortSignal; readonly timeoutMs?: number }): Promise<AgentInfo>;
  /** @throws not_found when the program is missing in the guest (exit 127), unsupported (126) are reported as exits, not errors. */
  exec(vm: Vm, request: GuestExecRequest, signal: AbortSignal): Promise<GuestProcess>;
  /** Connection made inside the guest. @throws operation_failed when refused; not_found for a name or path that does not exist; unsupported by an older agent */
  dial(vm: Vm, target: GuestTarget, signal: AbortSignal): Promise<Duplex>;
  /**
   * Listens inside the guest. `onConnection` gets each connection and who made it (host '' and port 0 for a unix socket).
   * @throws operation_failed when the address is taken or not allowed; unsupported by an older agent
   */
  listen(vm: Vm, target: GuestListenTarget, options: {
    readonly signal: AbortSignal; readonly onConnection: (connection: Duplex, from: GuestPeer) => void;
  }): Promise<GuestListener>;
  /** The host's end of the port that `GuestExecRequest.bulk` stands for; undefined: this VM has none. */
  bulkSocket(vm: Vm): string | undefined;
  /** Sets the guest's clock when it is off by what a person would see: it stood still, as after a pause. Absent: the agent cannot. @throws timeout; unsupported by an older agent */
  syncClock?(vm: Vm, signal: AbortSignal): Promise<void>;
  /** Asks the guest to power off or reboot cleanly; resolves when the agent has acknowledged. */
  shutdown(vm: Vm, how: 'poweroff' | 'reboot', signal: AbortSignal): Promise<void>;
}
export const GuestAgent = capability<GuestAgent>('guest-agent@1');

export interface StageReporter { (name: string, detail?: string): void }
export interface EnsureContext { readonly opId: string; readonly signal: AbortSignal; readonly stage: StageReporter }

/** An image ready to boot: a raw ext4 file, never modified, and its configuration (OCI image-spec `config` names). */
export interface Image {
  /** `sha256:` digest of the file or of the recipe's inputs, or a prefix-free id. */
  readonly id: string;
  readonly name: string;
  readonly rootfsPath: string;
  readonly sizeBytes: number;
  readonly config: { readonly env: Readonly<Record<string, string>>; readonly workdir?: string; readonly user?: string; readonly entrypoint?: readonly string[]; readonly cmd?: readonly string[] };
  readonly createdAt: string;
  readonly source: string;
}
export interface Images {
  /** Local image for a reference, or made from a source that knows it. @throws not_found; ambiguous_ref */
  ensure(ref: string | undefined, ctx: EnsureContext): Promise<Image>;
  /** By id. @throws not_found */
  get(id: string): Promise<Image>;
  /** What `ensure` would give without making or fetching anything; `undefined` when it would have to. For `--plan`. */
  find?(ref: string | undefined): Promise<Image | undefined>;
}
export const Images = capability<Images>('images@1');

export interface Kernel {
  readonly id: string;
  readonly name: string;
  readonly version: string;
  readonly kernelPath: string;
  /** Modules and `/init` (the guest agent), without the VM's own archive. */
  readonly initrdPath: string;
  readonly cmdline: readonly string[];
  readonly createdAt: string;
  readonly source: string;
}
export interface Kernels {
  ensure(ref: string | undefined, ctx: EnsureContext): Promise<Kernel>;
  /** By id. @throws not_found */
  get(id: string): Promise<Kernel>;
  /** What `ensure` would give without making or fetching anything; `undefined` when it would have to. For `--plan`. */
  find?(ref: string | undefined): Promise<Kernel | undefined>;
}
export const Kernels = capability<Kernels>('kernels@1');

/** One thing that a VM needs, as it was found. */
export interface RecoveryFinding {
  /** For people: "root disk". */
  readonly subject: string;
  /** `broken`: a start fails. `damaged`: it does not, but something is lost. `repaired`: was one of them. `unknown`: could not be looked at. */
  readonly state: 'ok' | 'repaired' | 'damaged' | 'broken' | 'unknown';
  /** What was found, and what is lost. */
  readonly text: string;
  /** What a person can do. */
  readonly hint?: string;
}
export interface RecoveryContext {
  /** Names of steps whose work is kept over a stop and was done for this VM: what should be there. */
  readonly made: readonly string[];
  readonly signal: AbortSignal;
  readonly log: Logger;
}
/** Looks after what a plugin keeps of a stopped VM. Called under the VM's lock; must not trust what a guest wrote. */
export interface VmRecovery {
  /** What can be made anew with its contents lost, by the word that asks for it: `{root: "what the guest changed outside of /root"}`. */
  readonly resets: Readonly<Record<string, string>>;
  /** Changes nothing. */
  check(vm: Vm, ctx: RecoveryContext): Promise<readonly RecoveryFinding[]>;
  /** Puts right what costs nothing more, and makes anew what `reset` names of `resets`; findings as they are then. May run any number of times. */
  repair(vm: Vm, options: { readonly reset: readonly string[] }, ctx: RecoveryContext): Promise<readonly RecoveryFinding[]>;
}
export const VmRecovery = capability<VmRecovery>('vm-recovery@1', 'many');

/** How the guest reaches the world, for the section `show` of others. */
export interface GuestNetworks { get(vm: Vm): { readonly network?: GuestNetwork; readonly address?: string } }
export type JsonObject = Readonly<Record<string, Json>>;
