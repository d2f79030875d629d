// What every copy has around its two ends: interrupts, and a judgement of how they ended.
import type { Interrupts } from '../interrupts.ts';
import { interruptExitCode, type InterruptSignal } from '../interrupts.ts';
import { BrokenPipe } from '../io.ts';
import { hasFailed, type End, type EndResult } from './end.ts';
import { copyFailure, isToldByDaemon, saysOnlyThatTheOtherIsGone, type Ended } from './failure.ts';
import type { CopyProgress } from './progress.ts';

/** An end, and where it keeps its last line. */
export type Speaking<T> = T & { readonly lines?: { takeLast(): string | undefined } };
export interface Ends { readonly source: Speaking<End>; readonly sink: Speaking<End> }
export interface Surroundings {
  readonly progress: CopyProgress;
  readonly interrupts: Pick<Interrupts, 'handle'>;
  /** Destination as typed. */
  readonly target: string;
}
export interface Results { readonly source: EndResult; readonly sink: EndResult; readonly first: keyof Ends }

/** Some of it is not there; what, the lines above say. */
const partialExitCode = 1;

/** Answers the exit code: 0, or 1 when something was left out. `move` makes the ends copy. @throws why it failed */
export async function supervise(run: Ends & Surroundings, move: () => Promise<Results>): Promise<number> {
  const { source, sink, progress } = run;
  const interrupted = Promise.withResolvers<InterruptSignal>();
  let interrupt: InterruptSignal | undefined;
  run.interrupts.handle((signal) => {
    // A second one, or a lost terminal, does not wait for the ends.
    if (interrupt !== undefined || signal === 'HUP') interrupted.resolve(signal);
    interrupt = signal;
    source.stop();
    sink.stop();
  });
  try {
    const results = await Promise.race([move(), interrupted.promise]);
    if (typeof results === 'string') return interruptExitCode(results);
    progress.end();
    if (interrupt !== undefined) return endInterrupted(run, interrupt);
    return judge(run, results);
  } finally {
    progress.end();
  }
}

/** Until both have ended; `after` hears of each, as soon as it has. */
export async function bothEnded({ source, sink }: Ends, after: Readonly<Record<keyof Ends, (result: EndResult) => void>>): Promise<Results> {
  let first: keyof Ends | undefined;
  const follow = async (which: keyof Ends, ended: Promise<EndResult>): Promise<EndResult> => {
    const result = await ended;
    if (hasFailed(result)) first ??= which;
    after[which](result);
    return result;
  };
  const [fromSource, fromSink] = await Promise.all([follow('source', source.ended), follow('sink', sink.ended)]);
  return { source: fromSource, sink: fromSink, first: first ?? 'source' };
}

function judge(run: Ends & Surroundings, results: Results): number {
  const source: Ended = { end: run.source, result: results.source, last: run.source.lines?.takeLast() };
  const sink: Ended = { end: run.sink, result: results.sink, last: run.sink.lines?.takeLast() };
  for (const { result } of [sink, source]) if ('error' in result && result.error instanceof BrokenPipe) throw result.error;
  const cause = causeOf(source, sink, results.first);
  if (hasFailed(cause.result)) throw copyFailure(cause, cause === sink ? undefined : sink, run.target);
  if (hasFailed(sink.result)) throw copyFailure(sink, undefined, run.target);
  for (const { end, last } of [source, sink]) if (last !== undefined) run.progress.say(`${end.label}: ${last}`);
  if ('code' in source.result && 'code' in sink.result && source.result.code + sink.result.code === 0) return 0;
  run.progress.say('banger: not all of it was copied');
  return partialExitCode;
}

/** The end that failed first; but one that has only lost the other is no cause where the daemon says what became of that one. */
function causeOf(source: Ended, sink: Ended, first: keyof Ends): Ended {
  const [one, other] = first === 'source' ? [source, sink] : [sink, source];
  return saysOnlyThatTheOtherIsGone(one) && isToldByDaemon(other.result) ? other : one;
}

function endInterrupted(run: Ends & Surroundings, signal: InterruptSignal): number {
  const last = run.sink.lines?.takeLast();
  if (last !== undefined) run.progress.say(`${run.sink.label}: ${last}`);
  return interruptExitCode(signal);
}
