// Questions to guests: at most one open for each VM, each wait bounded, and however many guests are frozen, they hold up none that are well.
import { isBangerError } from '../../core/plugin-api.ts';
import type { Vm } from '../../core/plugin-api.ts';
import type { AskOptions } from './guest/ask.ts';
import type { GuestFigures } from './guest/stat.ts';
import { Lane } from './lane.ts';
import type { WatchedVm } from './watched-vm.ts';

export interface QuestionDeps {
  ask(vm: Vm, options: AskOptions): Promise<GuestFigures>;
  /** How long an answer is waited for. */
  limitMs(): number;
  /** The daemon closes. */
  readonly signal: AbortSignal;
}
/** Guests asked at once: by the poll and by clients' questions, and by either those that did not answer the last time. */
const lanes = { well: 24, failing: 8, call: 32, callFailing: 16 } as const;

interface Question {
  /** Answered, or given up. Never rejects. */
  readonly done: Promise<void>;
  readonly control: AbortController;
  isDone: boolean;
  /** Called when the guest has ended it, too: a frozen one ends nothing, and is asked nothing more until it does. */
  readonly onOver: Set<() => void>;
}

export class Questions {
  readonly #deps: QuestionDeps;
  readonly #open = new Map<string, Question>();
  readonly #queued = new Set<WatchedVm>();
  readonly #lanes = { well: new Lane(lanes.well), failing: new Lane(lanes.failing), call: new Lane(lanes.call), callFailing: new Lane(lanes.callFailing) };

  constructor(deps: QuestionDeps) {
    this.#deps = deps;
  }

  /** For the poll: asks when there is room, unless a question is open or waits already. */
  enqueue(watched: WatchedVm): void {
    if (this.#open.has(watched.vm.id) || this.#queued.has(watched)) return;
    this.#queued.add(watched);
    void this.#lanes[watched.failures === 0 ? 'well' : 'failing'].run(async () => {
      if (this.#queued.delete(watched)) await this.#wait(watched, this.#deps.limitMs());
    });
  }

  /**
   * For a client: settles when the guest has answered or the limit is over, the wait for room included. Never rejects. false: others took the time, and
   * it was not asked; what the poll has learned has to do.
   */
  async ask(watched: WatchedVm): Promise<boolean> {
    const limitMs = this.#deps.limitMs();
    const endsAt = performance.now() + limitMs;
    let isAsked = false;
    await this.#lanes[watched.failures === 0 ? 'call' : 'callFailing'].run(async () => {
      const leftMs = endsAt - performance.now();
      // A guest that is given less than a quarter of its time may be called silent for the sake of others.
      if (leftMs < limitMs / 4) return;
      await this.#wait(watched, leftMs);
      isAsked = true;
    });
    return isAsked;
  }

  /** The VM has ended: nobody can answer. */
  forget(vmId: string): void {
    for (const watched of this.#queued) if (watched.vm.id === vmId) this.#queued.delete(watched);
    const question = this.#open.get(vmId);
    question?.control.abort();
    if (question !== undefined) this.#over(vmId, question);
  }

  /** VMs that have not ended their question. */
  get openCount(): number {
    return this.#open.size;
  }

  async #wait(watched: WatchedVm, waitMs: number): Promise<void> {
    if (this.#deps.signal.aborted) return;
    const endsAt = performance.now() + waitMs;
    const before = this.#open.get(watched.vm.id);
    const isFree = before?.isDone !== true || await isOver(before, waitMs);
    const { done } = isFree ? this.#open.get(watched.vm.id) ?? this.#begin(watched) : { done: undefined };
    if (done === undefined || !await settlesWithin(done, endsAt - performance.now())) watched.failed(silence(this.#deps.limitMs()));
  }

  #begin(watched: WatchedVm): Question {
    const { vm } = watched;
    const limitMs = this.#deps.limitMs();
    const control = new AbortController();
    // Without a beginning the guest has nothing to end.
    let ended = Promise.resolve();
    const done = this.#deps.ask(vm, {
      signal: AbortSignal.any([control.signal, this.#deps.signal]), limitMs, onBegun: (over) => { ended = over; },
    }).then((figures) => watched.answered(figures), (error: unknown) => watched.failed(problemOf(error, limitMs))).finally(() => {
      question.isDone = true;
      void ended.then(() => this.#over(vm.id, question));
    });
    const question: Question = { done, control, isDone: false, onOver: new Set() };
    this.#open.set(vm.id, question);
    return question;
  }

  #over(vmId: string, question: Question): void {
    if (this.#open.get(vmId) === question) this.#open.delete(vmId);
    for (const listener of question.onOver) listener();
  }
}

/** Listeners, not a promise: callers that gave up must leave nothing behind on a guest that stays frozen for days. */
function isOver(question: Question, waitMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const finish = (over: boolean) => (): void => {
      clearTimeout(timer);
      question.onOver.delete(onOver);
      resolve(over);
    };
    const onOver = finish(true);
    const timer = setTimeout(finish(false), waitMs);
    question.onOver.add(onOver);
  });
}

async function settlesWithin(work: Promise<void>, waitMs: number): Promise<boolean> {
  const late = Promise.withResolvers<false>();
  const timer = setTimeout(() => late.resolve(false), Math.max(0, waitMs));
  const outcome = await Promise.race([work.then(() => true), late.promise]);
  clearTimeout(timer);
  return outcome;
}

const silence = (limitMs: number): string => `its guest agent did not answer within ${Math.round(limitMs / 100) / 10} s`;

/** Why there is no answer, as one sentence that is safe to show: parts of it may be the guest's. */
function problemOf(error: unknown, limitMs: number): string {
  const code = isBangerError(error) ? error.code : undefined;
  if (code === 'timeout' || code === 'cancelled') return silence(limitMs);
  // It may run again by the time that this is read.
  if (code === 'wrong_state') return 'it was paused when it was asked';
  if (code === 'unsupported') return 'its guest agent is too old to tell: restart the VM';
  const message = error instanceof Error ? error.message : String(error);
  return message.replaceAll(/[\p{Cc}\p{Cf}]/gu, ' ').slice(0, 200);
}
