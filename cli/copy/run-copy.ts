// Pumps one end into the other and judges how it went.
import type { Interrupts } from '../interrupts.ts';
import { interruptExitCode, type InterruptSignal } from '../interrupts.ts';
import { BrokenPipe } from '../io.ts';
import { hasFailed, type EndResult, type Sink, type Source } from './end.ts';
import { copyFailure, type Ended } from './failure.ts';
import type { CopyProgress } from './progress.ts';

/** An end, and where it keeps its last line. */
export type Speaking<T> = T & { readonly lines?: { takeLast(): string | undefined } };
export interface CopyRun {
  readonly source: Speaking<Source>;
  readonly sink: Speaking<Sink>;
  readonly progress: CopyProgress;
  readonly interrupts: Interrupts;
  /** Destination as typed. */
  readonly target: string;
}

/** Some of it is not there; what, the lines above say. */
const partialExitCode = 1;

/** Answers the exit code: 0, or 1 when something was left out. @throws why it failed */
export async function runCopy(run: CopyRun): Promise<number> {
  const { source, sink, progress } = run;
  const stopBoth = (): void => {
    source.stop();
    sink.stop();
  };
  const interrupted = Promise.withResolvers<InterruptSignal>();
  let interrupt: InterruptSignal | undefined;
  run.interrupts.handle((signal) => {
    // A second one, or a lost terminal, does not wait for the ends.
    if (interrupt !== undefined || signal === 'HUP') interrupted.resolve(signal);
    interrupt = signal;
    stopBoth();
  });
  const both = pumpAll(run);
  try {
    const results = await Promise.race([both, interrupted.promise]);
    if (typeof results === 'string') return interruptExitCode(results);
    progress.end();
    if (interrupt !== undefined) return endInterrupted(run, interrupt);
    return judge(run, results);
  } finally {
    progress.end();
  }
}

interface Results { readonly source: EndResult; readonly sink: EndResult; readonly first: 'source' | 'sink' }

/** Until both have ended. The receiver hears of an early end by a stream without its end mark, and puts nothing half-made in place. */
async function pumpAll({ source, sink, progress }: CopyRun): Promise<Results> {
  let first: Results['first'] | undefined;
  const sourceEnded = source.ended.then((result) => {
    if (hasFailed(result)) first ??= 'source';
    sink.finish();
    return result;
  });
  const sinkEnded = sink.ended.then((result) => {
    if (hasFailed(result)) first ??= 'sink';
    source.stop();
    return result;
  });
  source.pump(async (bytes) => {
    await sink.write(bytes);
    progress.moved(bytes.length);
  });
  const [fromSource, fromSink] = await Promise.all([sourceEnded, sinkEnded]);
  return { source: fromSource, sink: fromSink, first: first ?? 'source' };
}

function judge(run: CopyRun, results: Results): number {
  const source: Ended = { end: run.source, result: results.source, last: run.source.lines?.takeLast() };
  const sink: Ended = { end: run.sink, result: results.sink, last: run.sink.lines?.takeLast() };
  for (const { result } of [sink, source]) if ('error' in result && result.error instanceof BrokenPipe) throw result.error;
  const [cause, other] = results.first === 'sink' ? [sink, undefined] : [source, sink];
  if (hasFailed(cause.result)) throw copyFailure(cause, other, run.target);
  if (hasFailed(sink.result)) throw copyFailure(sink, undefined, run.target);
  for (const { end, last } of [source, sink]) if (last !== undefined) run.progress.say(`${end.label}: ${last}`);
  if ('code' in source.result && 'code' in sink.result && source.result.code + sink.result.code === 0) return 0;
  run.progress.say('banger: not all of it was copied');
  return partialExitCode;
}

function endInterrupted(run: CopyRun, signal: InterruptSignal): number {
  const last = run.sink.lines?.takeLast();
  if (last !== undefined) run.progress.say(`${run.sink.label}: ${last}`);
  return interruptExitCode(signal);
}
