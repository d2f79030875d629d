// PUBLIC: everything a plugin author needs, as `banger/plugin`. A plugin is data; `setup` registers through its context.
import type { z } from 'zod';
import type {
  GuestPatch, HostResource, Json, MachineSpec, Phase, ProcessIdentity, TimelineEntry, Vm, VmSpec,
} from './model.ts';

export * from './model.ts';
export * from './errors.ts';
export * from './capabilities.ts';
// Helpers that would be dangerous or tedious to write again: the only recursive delete, a keyed mutex, a guest process on a client's stream.
export { removeTree } from './paths.ts';
export { createKeyedLock } from './lock.ts';
export { serveGuestProcess } from './guest-process.ts';
export type { ServeGuestProcess } from './guest-process.ts';
export type { KeyedLock, LockOptions } from './lock.ts';

// ---- capabilities: named, versioned, typed slots -------------------------------------------------------------------

export type CapabilityId = `${string}@${number}`;
export interface Capability<T> {
  readonly id: CapabilityId;
  /** `many`: several plugins may provide it (drivers, sources); `one`: two providers are an error. */
  readonly arity: 'one' | 'many';
  readonly __type?: T;
}
/** Declares a capability. Two declarations with the same id are the same slot. */
export function capability<T>(id: CapabilityId, arity: 'one' | 'many' = 'one'): Capability<T> {
  return Object.freeze({ id, arity });
}
// oxlint-disable-next-line typescript/no-explicit-any -- variance: any capability fits
export type AnyCapability = Capability<any>;
export type CapabilityValue<C> = C extends Capability<infer T> ? T : never;

/** Logger: pino's call shape (`log.info({field}, 'message')`), nothing more. */
export interface Logger {
  debug(fields: object | string, message?: string): void;
  info(fields: object | string, message?: string): void;
  warn(fields: object | string, message?: string): void;
  error(fields: object | string, message?: string): void;
  child(fields: object): Logger;
}

// ---- lifecycle -----------------------------------------------------------------------------------------------------

export interface PlanContext {
  readonly vm: Vm;
  readonly log: Logger;
}
/** What a step will make. Decided before any step runs and written to the ledger before `run` touches the host. */
export interface Plan<P extends Json> {
  readonly data: P;
  /** Host objects for `--plan`, one line each: "file /path", "process qemu-system-x86_64". */
  readonly makes: readonly string[];
  /** Why root is needed, when it is. */
  readonly needsRoot?: string;
}
export interface StartContext {
  readonly vm: Vm;
  readonly opId: string;
  /** Cancelled operation, daemon stopping, or the step's deadline. */
  readonly signal: AbortSignal;
  readonly log: Logger;
  /** Folded from all contributions before the first step ran. */
  readonly machine: MachineSpec;
  readonly guest: GuestPatch;
  /** Shown as the current stage, and named by the timeout error: "guest agent of devbox". */
  waitingFor(what: string): void;
  /** Call right after the first change to the host. A fault-injection point; does nothing in the product. */
  touched(): Promise<void>;
}
export type UndoReason = 'rollback' | 'stop' | 'delete' | 'recover' | 'reclaim';
export interface UndoContext {
  readonly vm: Vm;
  /** Own time limit; never the caller's signal. */
  readonly signal: AbortSignal;
  readonly log: Logger;
  readonly reason: UndoReason;
}

/**
 * One reversible unit of work on the host.
 *
 * Order of calls for one VM, never two at once: `plan` of all steps, then `run` of each; later `adopt` after a daemon restart;
 * at the end `undo`, as often as needed until it succeeds. `undo` needs nothing from memory: it gets the plan, and the
 * handle if `run` returned. It must succeed when `run` never began, failed half-way, or was undone before.
 */
export interface Step<P extends Json = Json, H extends Json = Json> {
  /** `plugin.kebab-name`, unique in the daemon. */
  readonly name: string;
  readonly phase: Phase;
  /** `run`: undone at stop (default). `vm`: kept over stop and start, undone at delete. */
  readonly lifetime?: 'run' | 'vm';
  readonly timeoutMs: number;
  /** @default 10000 */
  readonly undoTimeoutMs?: number;
  /** Exactly one step of a started VM has this: its handle is `{process: ProcessIdentity, ...}` and that process is the VM's life. */
  readonly lifeline?: true;
  /** `undefined`: nothing to do for this VM. Must not touch the host; must not depend on another step's handle. */
  plan(ctx: PlanContext): Promise<Plan<P> | undefined> | Plan<P> | undefined;
  run(ctx: StartContext, plan: P): Promise<H>;
  undo?(ctx: UndoContext, plan: P, handle: H | undefined): Promise<void>;
  /** After a daemon restart of a VM whose process lives: re-attach (listeners, sessions). Throwing is logged, not fatal. */
  adopt?(ctx: UndoContext, plan: P, handle: H): Promise<void>;
}

/** Graceful work before the undos of a stop; skipped by kill. Run in reverse order of registration until the VM's process is gone. */
export interface StopStep {
  readonly name: string;
  readonly timeoutMs: number;
  /** Ask the guest to end, and return; core then waits for the process until `timeoutMs` after the call. Throwing moves on to the next. */
  run(ctx: UndoContext): Promise<void>;
}

export interface Contributions { machine: MachineSpec; guest: GuestPatch }
export interface Change { readonly before: VmSpec; readonly after: VmSpec; readonly running: boolean }

/** Work outside a VM's lifecycle that uses long helper programs or staging files (image build). Kept in the same ledger. */
export interface Job<P extends Json> {
  /** `plugin.kebab-name`. */
  readonly name: string;
  /** Idempotent. Called when `fn` failed, was cancelled, or the daemon died meanwhile. Processes bearing the mark are already killed. */
  undo(plan: P, ctx: { readonly signal: AbortSignal; readonly log: Logger }): Promise<void>;
}
export interface JobContext {
  /** Value for `BANGER_MARK` of every process started; pass it as `mark` to `Exec.run`. */
  readonly mark: string;
  readonly signal: AbortSignal;
}
export type RunJob<P extends Json> = <R>(
  plan: P, call: { readonly opId: string; readonly signal: AbortSignal }, fn: (ctx: JobContext) => Promise<R>) => Promise<R>;

// ---- VM spec sections ----------------------------------------------------------------------------------------------

export interface FlagSpec {
  /** Without dashes. */
  readonly name: string;
  /** Key in the section that the flag sets. */
  readonly key: string;
  readonly type: 'string' | 'boolean' | 'list';
  /** What a boolean flag sets: false for one such as `--no-auto-ports`. @default true */
  readonly value?: boolean;
  readonly summary: string;
  /** Shown in help: `--publish <host:guest>`. */
  readonly placeholder?: string;
  readonly verbs: readonly ('run' | 'create' | 'set')[];
}
/** A plugin's part of the VM spec, under the plugin's name. Flags arrive as text; the schema parses and normalises them. */
export interface SpecSection<S extends z.ZodType = z.ZodType> {
  /** A strict object whose every key has a default. Output must be JSON and must parse to itself again. */
  readonly schema: S;
  readonly flags: readonly FlagSpec[];
  /** Columns of `vm list`, from the keys of `show`'s result. */
  readonly columns?: readonly { readonly header: string; readonly key: string }[];
  /** Rows of `vm show`; synchronous and cheap, it runs for every VM of a list. */
  show?(vm: Vm, section: z.output<S>, running: boolean): Readonly<Record<string, Json>>;
}

// ---- RPC -----------------------------------------------------------------------------------------------------------

/** The connection a call came in on. */
export interface Peer {
  readonly id: string;
  /** Fires once, when the client is gone. Returns an unregister function. */
  onClose(listener: () => void): () => void;
  /** Announces a byte stream; the client attaches with the ticket within 10 s, or `open` is never called and `expired` is. */
  offerStream(open: (stream: FrameStream) => void, expired: () => void): string;
}
/** Framed byte stream with back-pressure, one per exec or copy. */
export interface FrameStream {
  /** Resolves when the peer can take more. Rejects once the stream is closed. */
  send(kind: number, payload: Uint8Array): Promise<void>;
  /** Frames in order; `handler` is awaited before the next frame is read (back-pressure). */
  onFrame(handler: (kind: number, payload: Buffer) => Promise<void> | void): void;
  onClose(listener: () => void): void;
  end(): void;
  destroy(): void;
}
export interface CallContext {
  readonly opId: string;
  /** Cancelled on request (`rpc.cancel`, `op cancel`) and for `read` methods when the client goes away. */
  readonly signal: AbortSignal;
  readonly log: Logger;
  readonly peer: Peer;
  /** Stage of the operation this call is; also sent to the client as progress. */
  stage(name: string, detail?: string): void;
  /** Entry of the operation's timeline. */
  timeline(entry: TimelineEntry): void;
}
export interface RpcMethod<P extends z.ZodType = z.ZodType, R extends z.ZodType = z.ZodType> {
  readonly summary: string;
  readonly effect: 'read' | 'write';
  /** Makes the call an operation of this kind: listed, shown, cancellable. */
  readonly operation?: string;
  readonly params: P;
  readonly result: R;
  /** Codes the method raises beyond the general ones. */
  readonly errors?: readonly string[];
  handler(params: z.output<P>, call: CallContext): Promise<z.input<R>> | z.input<R>;
}

// ---- doctor and CLI parts ------------------------------------------------------------------------------------------

export interface CheckResult {
  readonly level: 'pass' | 'warn' | 'fail';
  readonly detail: readonly string[];
  readonly hint?: string;
}
export interface DoctorCheck<C = unknown> {
  /** For people: "qemu", "user namespaces". */
  readonly name: string;
  run(env: { readonly config: C; readonly signal: AbortSignal }): Promise<CheckResult>;
}
/** A CLI verb as data: the CLI builds it without loading the plugin's code. */
export interface CommandSpec {
  /** Such as ["hello", "greet"]. */
  readonly path: readonly [string, ...string[]];
  readonly summary: string;
  /** RPC method it calls; args and flags become its params by name. */
  readonly method: string;
  readonly args?: readonly { readonly name: string; readonly required?: boolean; readonly variadic?: boolean }[];
  readonly flags?: Readonly<Record<string, { readonly summary: string; readonly type: 'string' | 'integer' | 'boolean' }>>;
  readonly render?: 'json' | 'table' | 'keyvalue' | 'none';
}

// ---- the plugin ----------------------------------------------------------------------------------------------------

export interface PluginContext<C, Req extends AnyCapability, Opt extends AnyCapability, Prov extends AnyCapability> {
  /** Parsed, defaults applied, frozen. */
  readonly config: C;
  readonly log: Logger;
  /** The plugin's own directories, made on first use by the plugin. */
  readonly dirs: { readonly state: string; readonly cache: string };
  /** Aborted when the daemon closes. */
  readonly signal: AbortSignal;
  use<K extends Req>(cap: K): CapabilityValue<K>;
  useOptional<K extends Opt>(cap: K): CapabilityValue<K> | undefined;
  /** All providers of a `many` capability, by plugin name; complete once every plugin is set up, so call it late. */
  useAll<K extends Req | Opt>(cap: K): ReadonlyMap<string, CapabilityValue<K>>;
  provide<K extends Prov>(cap: K, value: CapabilityValue<K>): void;
  rpc<P extends z.ZodType, R extends z.ZodType>(name: string, method: RpcMethod<P, R>): void;
  // oxlint-disable-next-line typescript/no-explicit-any -- a registry holds steps of all plans and handles
  step(step: Step<any, any>): void;
  beforeStop(step: StopStep): void;
  /** Runs while plans are made, in plugin graph order; must not touch the host. */
  contribute<K extends keyof Contributions>(
    to: K, name: string, fn: (value: Contributions[K], ctx: PlanContext) => Contributions[K] | Promise<Contributions[K]>): void;
  /** Called under the VM's lock when `vm set` changed this plugin's section; throwing refuses the change. */
  reconfigure(name: string, fn: (vm: Vm, change: Change, ctx: UndoContext) => Promise<void>): void;
  job<P extends Json>(job: Job<P>): RunJob<P>;
  /** Lists every object on this host that bears this daemon's mark, for `doctor --leaks`. Processes and VM directories are core's. */
  resources(name: string, list: () => Promise<readonly HostResource[]>): void;
  /** Supervised background loop: restarted with backoff, named in doctor when it fails. */
  task(name: string, run: (signal: AbortSignal) => Promise<void>): void;
  /** Run in reverse order at close, each with a limit. */
  onDispose(dispose: () => void | Promise<void>): void;
}

export interface PluginDefinition<
  S extends z.ZodType = z.ZodType, Req extends AnyCapability = AnyCapability,
  Opt extends AnyCapability = AnyCapability, Prov extends AnyCapability = AnyCapability> {
  /** DNS label; also config section, spec section and RPC prefix. */
  readonly name: string;
  readonly version: string;
  readonly apiVersion: 1;
  readonly summary: string;
  readonly requires?: readonly Req[];
  /** Used when present; affects order. */
  readonly optional?: readonly Opt[];
  readonly provides?: readonly Prov[];
  /** `z.strictObject`, section `[plugins.<name>]`. */
  readonly config: S;
  /**
   * A key of the configuration file outside of `[plugins]` whose value the plugin takes: it reaches `config` as `entries`, and problems are
   * told under this name. Built-in plugins only: the file is read before third-party plugins are known.
   */
  readonly configKey?: string;
  readonly spec?: SpecSection;
  readonly checks?: readonly DoctorCheck<z.output<S>>[];
  readonly commands?: readonly CommandSpec[];
  setup(ctx: PluginContext<z.output<S>, Req, Opt, Prov>): void | Promise<void>;
}
/** Declares a plugin; returns it unchanged, with its types checked. */
export function definePlugin<
  S extends z.ZodType, const Req extends AnyCapability = never,
  const Opt extends AnyCapability = never, const Prov extends AnyCapability = never>(
  definition: PluginDefinition<S, Req, Opt, Prov>): PluginDefinition<S, Req, Opt, Prov> {
  return definition;
}

/** Thrown by `setup` through `skipPlugin`. */
export class SkipPlugin extends Error {
  override readonly name = 'SkipPlugin';
}
/** Says from `setup` that the plugin cannot run on this host; not a failure. */
export function skipPlugin(reason: string): never {
  throw new SkipPlugin(reason);
}

export type PluginState = 'active' | 'disabled' | 'skipped' | 'failed';
export interface PluginStatus {
  readonly name: string;
  readonly version: string;
  readonly summary: string;
  /** `builtin`, or where a third-party plugin was loaded from. */
  readonly source: string;
  readonly state: PluginState;
  readonly reason?: string;
  readonly requires: readonly string[];
  readonly provides: readonly string[];
  readonly methods: readonly string[];
  readonly steps: readonly string[];
  readonly checks: readonly string[];
  readonly setupMs?: number;
}
export type { ProcessIdentity };
