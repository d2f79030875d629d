import { setTimeout as delay } from 'node:timers/promises';
import type { VmStats, VmStatsParams } from '../../core/api.ts';
import type { CommandContext, Handler } from '../command.ts';
import { figureCells, figureHeaders, figureNotes } from '../figures/cells.ts';
import { wantedVms } from '../figures/wanted.ts';
import type { Io } from '../io.ts';
import { jsonText } from '../render/json.ts';
import { printable, table } from '../render/table.ts';

/** Between two frames of --watch. */
const frameMs = 2000;

const handler: Handler = async (ctx) => {
  const { flags, io } = ctx;
  const { refs, code } = await wantedVms(ctx);
  if (refs?.length === 0) return code;
  const params: VmStatsParams = refs === undefined ? {} : { refs };
  const link = await ctx.daemon();
  const { stats } = await link.call('vm.stats', params, { read: true });
  if (!flags.on('watch')) {
    io.out(flags.on('json') ? jsonText({ stats }) : statsTable(stats));
    if (!flags.on('json')) for (const note of figureNotes(stats)) io.err(`note: ${printable(note)}\n`);
    return code;
  }
  // Only the first frame waits for guests: one that is frozen would make all the others late.
  if (isLive(io) && !flags.on('json')) io.out('\u001b[2J');
  for (let frame = stats; ; frame = (await link.call('vm.stats', { ...params, wait: false }, { read: true })).stats) {
    showFrame(ctx, frame);
    await delay(frameMs);
  }
};
export default handler;

/** The table of figures, a VM a row. */
export const statsTable = (stats: readonly VmStats[]): string => table(figureHeaders, stats.map(figureCells));

const isLive = (io: Io): boolean => io.isTty(1) && io.env['TERM'] !== 'dumb';

/** In place of the last frame on a terminal, below it elsewhere; as JSON a document a line. */
function showFrame({ flags, io }: CommandContext, stats: readonly VmStats[]): void {
  if (flags.on('json')) {
    io.out(`${JSON.stringify({ stats })}\n`);
    return;
  }
  const text = statsTable(stats) + figureNotes(stats).map((note) => `note: ${printable(note)}\n`).join('');
  // Home, each line cleared to its end as it is written, and everything below: no frame flickers.
  io.out(isLive(io) ? `\u001b[H${text.replaceAll('\n', '\u001b[K\n')}\u001b[J` : `${text}\n`);
}
