// Shapes on the wire that both ends share. Types only: the CLI's hot path imports nothing else of core.
import type { CommandSpec, FlagSpec, PluginStatus } from './plugin-api.ts';
import type { InitMode, Json, TimelineEntry, VmState } from './model.ts';

export type * from './api-watch.ts';

/** Minor: additions. Major: a client of another major is refused with `bad_version`. */
export const protocolVersion = '1.0';

export interface HelloParams { readonly protocol: string; readonly build: string }
export interface HelloResult { readonly protocol: string; readonly build: string; readonly version: string; readonly pid: number; readonly idle: boolean }

export interface VmView {
  readonly id: string;
  readonly name: string;
  readonly state: VmState;
  /** Such as "guest poweroff", "waiting for guest agent". */
  readonly stateReason?: string;
  readonly image: string;
  readonly imageId: string;
  readonly kernel: string;
  readonly driver: string;
  readonly vcpu: number;
  readonly memoryMiB: number;
  readonly init: InitMode;
  readonly createdAt: string;
  readonly startedAt?: string;
  readonly reboots: number;
  /** Set while running. */
  readonly process?: { readonly pid: number };
  readonly lastError?: { readonly code: string; readonly message: string; readonly opId?: string };
  /** How the last run ended; not while it runs. `detail`: lines of text, of which the guest may have written any; the first is also in the state's reason. */
  readonly end?: { readonly reason: string; readonly at: string; readonly detail?: readonly string[] };
  /** Plugin name to what its section shows. */
  readonly sections: Readonly<Record<string, Json>>;
}
export interface VmListResult {
  readonly vms: readonly VmView[];
  /** Extra table columns from plugins. */
  readonly columns: readonly { readonly header: string; readonly section: string; readonly key: string }[];
}
export interface VmCreateParams {
  readonly name?: string | undefined;
  readonly image?: string | undefined;
  readonly kernel?: string | undefined;
  readonly driver?: string | undefined;
  readonly vcpu?: number | undefined;
  readonly memoryMiB?: number | undefined;
  readonly init?: InitMode | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Plugin name to raw flag values (text, boolean, list of text). */
  readonly sections?: Readonly<Record<string, Json>> | undefined;
  /** @default true */
  readonly start?: boolean | undefined;
  /** Delete the VM when this connection is lost (`vm run --rm`). @default false */
  readonly lease?: boolean | undefined;
}
/** `startable`: nothing that was looked at is in the way of a start. */
export interface VmRecoverResult {
  readonly vm: VmView;
  readonly startable: boolean;
  readonly findings: readonly {
    readonly subject: string;
    /** `damaged`: a start works, something is lost; `broken`: it does not. */
    readonly state: 'ok' | 'repaired' | 'damaged' | 'broken' | 'unknown';
    readonly text: string;
    readonly hint?: string | undefined;
  }[];
}
export interface VmPlanResult {
  readonly vm: { readonly name: string };
  readonly steps: readonly { readonly name: string; readonly plugin: string; readonly phase: string; readonly makes: readonly string[]; readonly needsRoot?: string }[];
}
export interface VmExecParams {
  readonly ref: string;
  /** Empty: login shell. */
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly cwd?: string | undefined;
  readonly user?: string | undefined;
  readonly tty?: { readonly cols: number; readonly rows: number; readonly term: string } | undefined;
  /** false: /dev/null. */
  readonly stdin: boolean;
  /** Through the user's login shell. @default false */
  readonly login?: boolean | undefined;
}
/** The client then opens a connection of its own to the same socket, sends `{"attach":"<ticket>"}\n`, and speaks frames. */
export interface VmExecResult { readonly ticket: string }

/** A command that goes on without client and daemon: no stdin, no terminal. */
export interface VmExecDetachParams {
  readonly ref: string;
  /** At least one word. */
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly cwd?: string | undefined;
  readonly user?: string | undefined;
  /** Through the user's login shell. @default false */
  readonly login?: boolean | undefined;
}
/** A command that the guest keeps: output (bounded) and end. All of it is the guest's word. */
export interface KeptCommand {
  /** 12 hex digits. */
  readonly id: string;
  /** `lost`: what kept it was killed in the guest, so its end is not known. */
  readonly state: 'running' | 'ended' | 'lost';
  /** In the guest. */
  readonly pid: number;
  readonly user: string;
  /** Words; what is longer than 2 KiB together is cut. */
  readonly command: readonly string[];
  readonly startedAt: string;
  readonly endedAt?: string | undefined;
  readonly exit?: { readonly code: number } | { readonly signal: string; readonly number: number } | undefined;
  /** Written by the command, and how much of that is gone; known when it has ended. */
  readonly outputBytes?: number | undefined;
  readonly droppedBytes?: number | undefined;
}
export interface VmExecLogsParams {
  readonly ref: string;
  /** Of a kept command, or the beginning of one that fits a single command. */
  readonly id: string;
  /** Go on until the command ends; the stream's exit is then the command's. @default false */
  readonly follow?: boolean | undefined;
}

export interface VmCopyParams {
  readonly ref: string;
  /** in: a tar stream from the client is put at the path; out: the path is sent as one. */
  readonly direction: 'in' | 'out';
  /** In the guest; a relative one is below the user's home. */
  readonly path: string;
  readonly user?: string | undefined;
  /** out: what is in the directory, not the directory. */
  readonly contents?: boolean | undefined;
  /** out: name of the tree in the stream. */
  readonly base?: string | undefined;
  /** in: where the path is a directory, the stream's one tree goes there under this name. */
  readonly name?: string | undefined;
  readonly place?: 'into' | 'as' | undefined;
  /** in: keep owners. @default true */
  readonly owners?: boolean | undefined;
  /** in: make device nodes. @default false */
  readonly devices?: boolean | undefined;
  readonly sync?: boolean | undefined;
  /** The client moves the tar stream itself where the VM has a way for that. @default false */
  readonly direct?: boolean | undefined;
}
/** The tar stream goes past the daemon; of the ticket's stream, stderr, signals and the exit are left, and an empty stdin says that the client is through. */
export interface VmCopyDirect {
  /** Path of the unix socket at whose other end the guest is. */
  readonly socket: string;
  /** 32 hexadecimal digits: the bytes that both ends say first, the client before the guest. */
  readonly hello: string;
  /** How long the guest's turns may last in sum while less than the floor moves. */
  readonly stallLimitMs: number;
  readonly floorBytesPerSecond: number;
}
export interface VmCopyResult {
  readonly ticket: string;
  readonly direct?: VmCopyDirect | undefined;
}
export interface VmLogsParams {
  readonly ref: string;
  /** Counted from 1 since the VM was created; 0: the last, -1: the one before it, and so on. @default 0 */
  readonly boot?: number | undefined;
}
export interface VmLogsResult {
  /** Absent when nothing has been logged yet. */
  readonly boot?: number;
  /** Of that boot, oldest first; only files that exist. */
  readonly files: string[];
  /** Oldest first. */
  readonly boots: { readonly boot: number; readonly bytes: number; readonly lastWriteAt: string }[];
  /** More may come: the VM runs, or is on its way up or down. */
  readonly grows: boolean;
}
/** `vm.console`: attached to as the ticket of `vm.exec`; stdin and stdout are the console's, exit tells that the VM has ended. */
export interface VmConsoleResult { readonly ticket: string }

/** Frame: kind (1 byte), payload length (4 bytes, big endian, at most 1 MiB), payload. */
export const frameKind = {
  /** client to daemon: data of stdin; empty: end of file */
  stdin: 0,
  /** client to daemon: JSON {cols, rows} */
  resize: 1,
  /** client to daemon: signal name without SIG, ASCII */
  signal: 2,
  /** daemon to client */
  stdout: 16,
  stderr: 17,
  /** daemon to client, last frame: JSON {code} | {signal, number} | {error: WireError} */
  exit: 18,
  /** either way, empty: shows a side that is not reading whether the other still lives; the receiver ignores it */
  keepalive: 255,
} as const;

export interface OperationView {
  readonly id: string;
  readonly kind: string;
  /** VM name or image name. */
  readonly subject?: string;
  readonly state: 'running' | 'done' | 'failed' | 'cancelled';
  readonly done: boolean;
  readonly stage?: string;
  readonly detail?: string;
  readonly startedAt: string;
  readonly finishedAt?: string;
  readonly error?: { readonly code: string; readonly message: string };
  readonly timeline: readonly TimelineEntry[];
}
export interface DaemonStatus {
  readonly pid: number;
  readonly version: string;
  readonly build: string;
  readonly protocol: string;
  readonly startedAt: string;
  readonly socket: string;
  readonly stateDir: string;
  /** First part of every mark on the host. */
  readonly installId: string;
  readonly configFile: string;
  readonly logFile: string;
  readonly vms: { readonly total: number; readonly running: number };
  readonly operations: number;
  readonly memoryRssBytes: number;
}
export interface DoctorReport {
  readonly ok: boolean;
  readonly checks: readonly { readonly name: string; readonly plugin: string; readonly level: 'pass' | 'warn' | 'fail'; readonly detail: readonly string[]; readonly hint?: string }[];
  readonly plugins: readonly PluginStatus[];
}
export interface LeakReport {
  readonly leaks: readonly { readonly kind: string; readonly name: string; readonly step: string; readonly vmId?: string }[];
  /** Ledger rows whose undo failed. */
  readonly undoFailed: readonly { readonly vm: string; readonly step: string; readonly error: string }[];
}
export interface ReclaimResult { readonly removed: readonly string[]; readonly failed: readonly { readonly name: string; readonly error: string }[] }
/** What the CLI needs to build flags and verbs of plugins without loading them. */
export interface CliSpec {
  readonly flags: readonly (FlagSpec & { readonly section: string })[];
  readonly commands: readonly (CommandSpec & { readonly plugin: string })[];
}

/** `data` of every error of ours on the wire; JSON-RPC code -32000. */
export interface WireError {
  readonly code: string;
  readonly opId: string;
  readonly hint?: string;
  readonly detail?: Readonly<Record<string, unknown>>;
}
/** Notification `rpc.progress` params. `id` is the id of the request it belongs to. */
export interface ProgressNotice { readonly id: number | string; readonly stage: string; readonly detail?: string; readonly opId: string }

// ---- workspaces: a git repository of the host, put into a VM ---------------------------------------------------------

/** What goes in: `shallow`: the last commits and the working files; `full_copy`: the whole history with all branches and tags; `metadata`: no working files. */
export type WorkspaceMode = 'shallow' | 'full_copy' | 'metadata';
export interface WorkspacePrepareParams {
  readonly ref: string;
  /** Absolute path on the host: the repository, or a directory in it. */
  readonly path: string;
  /** @default shallow */
  readonly mode?: WorkspaceMode | undefined;
  /** A branch that is made in the guest only. */
  readonly branch?: string | undefined;
  /** With `branch`: where it begins. @default HEAD */
  readonly from?: string | undefined;
  /** @default false */
  readonly includeUntracked?: boolean | undefined;
  /** Absolute. @default /root/<name of the repository> */
  readonly guestPath?: string | undefined;
  /** What the guest has beyond the checkout goes. @default false */
  readonly clean?: boolean | undefined;
  /** Edits of the guest are overwritten. @default false */
  readonly force?: boolean | undefined;
}
export interface WorkspaceView {
  readonly guestPath: string;
  /** Root of the host's working tree. */
  readonly hostPath: string;
  readonly mode: WorkspaceMode;
  /** Commit that HEAD was; absent on an unborn branch. */
  readonly head?: string;
  /** Absent: HEAD is detached. */
  readonly branch?: string;
  /** Whether untracked files went along. */
  readonly includeUntracked?: boolean;
  /** What was asked for as a branch of the guest's own: with this, preparing again does the same. */
  readonly ownBranch?: { readonly name: string; readonly from?: string | undefined };
  /** RFC 3339. */
  readonly preparedAt: string;
}
export interface WorkspacePrepareResult {
  readonly workspace: WorkspaceView;
  /** Working files of the checkout. */
  readonly files: number;
  /** Of them, those that were sent now. */
  readonly sentFiles: number;
  readonly sentBytes: number;
  readonly removedFiles: number;
  /** One sentence each, for people. */
  readonly notices: readonly string[];
}
export interface WorkspaceStatus extends WorkspaceView {
  /** The host's HEAD now; absent when it cannot be told. */
  readonly hostHead?: string;
  /** Whether the host's HEAD is another than when the workspace was prepared. */
  readonly moved: boolean;
}
/** The last prepared one first. */
export interface WorkspaceStatusResult { readonly workspaces: readonly WorkspaceStatus[] }
export interface WorkspaceExportParams {
  readonly ref: string;
  /** @default the last prepared workspace */
  readonly guestPath?: string | undefined;
  /** Commit that the patch begins at; commits of the guest since then are in it. @default the guest's HEAD */
  readonly baseCommit?: string | undefined;
}
export interface WorkspacePullParams {
  readonly ref: string;
  /** @default the last prepared workspace */
  readonly guestPath?: string | undefined;
  /** Repository on the host to bring the work to, absolute. @default where the workspace came from */
  readonly path?: string | undefined;
}
export interface WorkspacePullResult {
  /** Name of the operation in the refs. */
  readonly operation: string;
  /** Root of the host's working tree. */
  readonly hostPath: string;
  /** Full names of the refs made. `base` is what was sent, `worktree` what the guest's working tree held, untracked files included. */
  readonly refs: { readonly base: string; readonly head?: string; readonly index?: string; readonly worktree: string };
  /** Commits of the guest that were not sent to it. */
  readonly commits: number;
  /** Files that differ between base and worktree. */
  readonly changedFiles: number;
  /** Paths of submodules and nested repositories whose own work is in the guest only. */
  readonly leftBehind: readonly string[];
  readonly notices: readonly string[];
}
