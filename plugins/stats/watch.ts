// Every running VM with the last that is known of it. No VM's lock is taken here, and nobody waits for a guest but who asks for it.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { wrongState } from '../../core/plugin-api.ts';
import type { Logger, Vm, Vms } from '../../core/plugin-api.ts';
import type { DiskFile, DiskFiles } from '../disks/capability.ts';
import { hostUptimeSeconds } from './host/vmm.ts';
import { createLastFigures } from './last.ts';
import type { LastFigures } from './last.ts';
import { Questions } from './questions.ts';
import type { QuestionDeps } from './questions.ts';
import { WatchedVm } from './watched-vm.ts';
import type { Times } from './watched-vm.ts';

export interface WatchDeps extends QuestionDeps {
  readonly vms: Pick<Vms, 'list' | 'process' | 'isPaused' | 'onChange'>;
  readonly disks: DiskFiles | undefined;
  readonly log: Logger;
  readonly times?: Times;
}
export interface Round { readonly running: number; readonly tookMs: number; readonly longestTurnMs: number }

/** Reads of /proc go on for this long before other work of the daemon has its turn. */
const turnMs = 2;
/** A client that does not wait has guests asked whose figures are older than this. */
const freshMs = 5000;
/** How often the figures of a running VM are put in its directory. */
const saveEveryMs = 60_000;

export class Watch {
  readonly last: LastFigures;
  readonly questions: Questions;
  readonly #deps: WatchDeps;
  readonly #times: Times;
  readonly #watched = new Map<string, WatchedVm>();
  readonly #saves = new Set<Promise<void>>();
  readonly #stopListening: () => void;
  lastRound: Round | undefined;

  constructor(deps: WatchDeps) {
    this.#deps = deps;
    this.#times = deps.times ?? { now: () => Date.now(), monotonicMs: () => performance.now() };
    this.last = createLastFigures(deps.log);
    this.questions = new Questions({
      ...deps, ask: (vm, options) => (deps.vms.isPaused(vm.id) ? Promise.reject(wrongState(vm.name, 'paused', 'running')) : deps.ask(vm, options)),
    });
    this.#stopListening = deps.vms.onChange(({ kind, vm }) => {
      if (kind === 'started') this.look(vm);
      else this.#ended(vm);
      if (kind === 'deleted') this.last.forget(vm.id);
    });
  }

  /** The running VM with the VMM's figures as they are now; `undefined` when it does not run. */
  look(vm: Vm, hostUptime?: number): WatchedVm | undefined {
    // One read of /proc tells that the process of the run lives; who asks the ledger pays ten times that.
    const known = this.#watched.get(vm.id);
    if (known?.measure(hostUptime) === true) return known;
    if (known !== undefined) this.#ended(vm);
    const process = this.#deps.vms.process(vm.id);
    if (process === undefined) return undefined;
    const watched = new WatchedVm(vm, process, this.#times);
    if (!watched.measure(hostUptime)) return undefined;
    this.#watched.set(vm.id, watched);
    void this.readDisks(watched);
    return watched;
  }

  /** Which files the disks are; what they take is looked up at each use. */
  async readDisks(watched: WatchedVm): Promise<void> {
    watched.disks = await this.diskFiles(watched.vm);
  }
  async diskFiles(vm: Vm): Promise<readonly DiskFile[]> {
    try {
      return await this.#deps.disks?.files(vm) ?? [];
    } catch (error) {
      this.#deps.log.warn({ vm: vm.name, err: error }, 'cannot look at the disks of a VM');
      return [];
    }
  }

  /** As the last round or event left it: costs nothing. */
  known(vmId: string): WatchedVm | undefined {
    return this.#watched.get(vmId);
  }
  all(): readonly WatchedVm[] {
    return [...this.#watched.values()];
  }

  /** Looks at every running VM and asks its guest, whose answers come later. */
  async round(): Promise<Round> {
    const began = performance.now();
    let [turnBegan, longestTurnMs, running] = [began, 0, 0];
    const uptime = hostUptimeSeconds();
    for (const vm of this.#deps.vms.list()) {
      if (performance.now() - turnBegan > turnMs) {
        longestTurnMs = Math.max(longestTurnMs, performance.now() - turnBegan);
        await nextTurn();
        if (this.#deps.signal.aborted) break;
        turnBegan = performance.now();
      }
      const watched = this.look(vm, uptime);
      if (watched === undefined) continue;
      running += 1;
      if (!this.#deps.vms.isPaused(vm.id)) this.questions.enqueue(watched);
      if (this.#times.now() - watched.savedAtMs >= saveEveryMs) this.#save(watched);
    }
    this.lastRound = { running, tookMs: performance.now() - began, longestTurnMs: Math.max(longestTurnMs, performance.now() - turnBegan) };
    return this.lastRound;
  }

  /** Has the guest asked, unless it answered just now. */
  refresh(watched: WatchedVm): void {
    if (this.#times.now() - (watched.figures.guestAtMs ?? 0) >= freshMs) this.questions.enqueue(watched);
  }

  /** What is being written is written. */
  async close(): Promise<void> {
    this.#stopListening();
    await Promise.all(this.#saves);
  }

  #ended(vm: Vm): void {
    const watched = this.#watched.get(vm.id);
    this.#watched.delete(vm.id);
    this.questions.forget(vm.id);
    if (watched?.figures.host !== undefined) this.#save(watched);
  }

  #save(watched: WatchedVm): void {
    watched.savedAtMs = this.#times.now();
    const work = this.last.save(watched.vm, watched.figures).finally(() => this.#saves.delete(work));
    this.#saves.add(work);
  }
}
