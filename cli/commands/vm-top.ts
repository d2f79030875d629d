import type { VmStats } from '../../core/api.ts';
import type { Handler } from '../command.ts';
import type { Daemon } from '../daemon-link.ts';
import { openFullScreen } from '../figures/full-screen.ts';
import { figureNotes } from '../figures/cells.ts';
import { sortKeys, sortStats, topScreen, type SortKey } from '../figures/screen.ts';
import { Interrupts, interruptExitCode } from '../interrupts.ts';
import { usageError } from '../parse.ts';
import { printable } from '../render/table.ts';
import { statsTable } from './vm-stats.ts';

const frameMs = 2000;
const ctrlC = '\u0003';

const handler: Handler = async (ctx) => {
  const { daemon, flags, io } = ctx;
  const sort = sortOf(flags.text('sort'));
  const link = await daemon();
  if (io.isTty(0) && io.isTty(1) && io.env['TERM'] !== 'dumb') return runTop(link, sort);
  const stats = sortStats(await figures(link), sort);
  io.out(statsTable(stats));
  for (const note of figureNotes(stats)) io.err(`note: ${printable(note)}\n`);
  return 0;
};
export default handler;

function sortOf(word: string | undefined): SortKey {
  if (word === undefined) return 'cpu';
  // A letter will do, as on the screen.
  const key = sortKeys.find((one) => one === word || one[0] === word);
  if (key === undefined) throw usageError(`--sort: wants ${sortKeys.slice(0, -1).join(', ')} or ${sortKeys.at(-1)!}, got ${word}`);
  return key;
}

/** What is known now: a frame waits for no guest. */
const figures = async (link: Daemon): Promise<readonly VmStats[]> => (await link.call('vm.stats', { wait: false }, { read: true })).stats;

/** Frames until a key, a signal or the end of terminal or daemon; the terminal is as before then. */
async function runTop(link: Daemon, first: SortKey): Promise<number> {
  let sort = first;
  let stats = await figures(link);
  const done = Promise.withResolvers<number>();
  const paint = (): void => screen.paint(topScreen(stats, { ...screen.size(), sort, time: new Date().toTimeString().slice(0, 8) }));
  const screen = openFullScreen({
    onKey(key) {
      if (key === 'q' || key === 'Q' || key === ctrlC) done.resolve(0);
      sort = sortKeys.find((one) => one[0] === key) ?? sort;
      paint();
    },
    onRepaint: () => paint(),
    onEnd: () => done.resolve(interruptExitCode('HUP')),
  });
  const interrupts = new Interrupts((signal) => done.resolve(interruptExitCode(signal)));
  const refresh = async (): Promise<void> => {
    stats = await figures(link);
    paint();
  };
  const next = (): NodeJS.Timeout => setTimeout(() => { refresh().then(() => { timer = next(); }, done.reject); }, frameMs);
  let timer = next();
  try {
    paint();
    return await done.promise;
  } finally {
    clearTimeout(timer);
    interrupts.dispose();
    screen.close();
  }
}
