// PUBLIC: what listens inside guests, for plugins that hand it on.
import { capability } from '../../core/plugin-api.ts';
import type { Vm } from '../../core/plugin-api.ts';

/** One listening TCP socket or bound UDP socket of a guest. All of it is the guest's word, bounded in number and length. */
export interface GuestListener {
  readonly protocol: 'tcp' | 'udp';
  /** As text, such as `127.0.0.1`, `::`. */
  readonly address: string;
  /** 1 to 65535. */
  readonly port: number;
  /** In the guest. */
  readonly uid: number;
  /** In the guest; absent where no process was found. */
  readonly pid?: number;
  /** Name of the process; may hold any character. */
  readonly process?: string;
}
export interface ListenerSnapshot {
  /** Sorted by protocol, port and address. */
  readonly listeners: readonly GuestListener[];
  /** Those beyond what the guest's agent tells of. */
  readonly more: number;
}

export interface GuestListeners {
  /** @throws timeout; not_running; unsupported for an older agent; operation_failed when the guest answers nonsense */
  list(vm: Vm, signal: AbortSignal): Promise<ListenerSnapshot>;
  /**
   * Calls `onChange` with the first snapshot and each one that differs; settles when the signal ends it.
   * @throws as `list` when the guest ends it, or gives no sign of life
   */
  watch(vm: Vm, onChange: (snapshot: ListenerSnapshot) => void, signal: AbortSignal): Promise<void>;
}
export const GuestListeners = capability<GuestListeners>('guest-listeners@1');
