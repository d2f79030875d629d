// A copy through our hands: pumps one end into the other.
import type { Sink, Source } from './end.ts';
import { bothEnded, supervise, type Results, type Speaking, type Surroundings } from './supervise.ts';

export interface CopyRun extends Surroundings {
  readonly source: Speaking<Source>;
  readonly sink: Speaking<Sink>;
}

/** Answers the exit code: 0, or 1 when something was left out. @throws why it failed */
export const runCopy = (run: CopyRun): Promise<number> => supervise(run, () => pumpAll(run));

/** Until both have ended. The receiver hears of an early end by a stream without its end mark, and puts nothing half-made in place. */
function pumpAll({ source, sink, progress }: CopyRun): Promise<Results> {
  const results = bothEnded({ source, sink }, { source: () => sink.finish(), sink: () => source.stop() });
  source.pump(async (bytes) => {
    await sink.write(bytes);
    progress.moved(bytes.length);
  });
  return results;
}
