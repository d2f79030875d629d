import { openGuestEnd } from '../copy/guest-end.ts';
import { HostEnd } from '../copy/host-end.ts';
import { parseOperand, showOperand } from '../copy/operand.ts';
import { planCopy, type EndPlan } from '../copy/plan.ts';
import { createCopyProgress } from '../copy/progress.ts';
import { runCopy } from '../copy/run-copy.ts';
import { StdinEnd, StdoutEnd } from '../copy/stream-end.ts';
import type { CommandContext, Handler } from '../command.ts';
import { Interrupts, interruptExitCode } from '../interrupts.ts';
import { usageError } from '../parse.ts';

const handler: Handler = async (ctx) => {
  const { args, flags, io } = ctx;
  const [source, target] = [parseOperand(args[0]!), parseOperand(args[1]!)];
  const plan = planCopy({ source, target, user: flags.text('user'), owners: !flags.on('no-owners'), isRoot: process.getuid?.() === 0 });
  if (source.kind === 'stream' && io.isTty(0)) throw usageError('stdin is a terminal, not a tar stream', 'such as: tar c dir | banger vm cp - devbox:/srv');
  if (target.kind === 'stream' && io.isTty(1)) throw usageError('stdout is a terminal, and a tar stream is no text', 'such as: banger vm cp devbox:/srv - | tar tv');
  const progress = createCopyProgress(io, { quiet: flags.on('quiet'), width: process.stderr.columns });
  const interrupts = new Interrupts((signal) => process.exit(interruptExitCode(signal)));
  try {
    // The guest's end first: a missing VM is told before anything runs here.
    const ends = await openEnds(ctx, plan, { say: (label, line) => progress.say(`${label}: ${line}`), onName: (name) => progress.at(name) });
    return await runCopy({ ...ends, progress, interrupts, target: showOperand(target) });
  } finally {
    progress.end();
    interrupts.dispose();
  }
};
export default handler;

interface Listeners { readonly say: (label: string, line: string) => void; readonly onName: (name: string) => void }

async function openEnds(ctx: CommandContext, plan: { readonly source: EndPlan; readonly target: EndPlan }, listeners: Listeners) {
  const onHost = (words: readonly string[]): HostEnd => new HostEnd(words, { say: (line) => listeners.say('host', line), onName: listeners.onName });
  const inGuest = async (end: EndPlan) => (end.on === 'guest' ? openGuestEnd(await ctx.daemon(), end.params, (line) => listeners.say(end.params.ref, line)) : undefined);
  const [sourceGuest, targetGuest] = [await inGuest(plan.source), await inGuest(plan.target)];
  const source = sourceGuest ?? (plan.source.on === 'host' ? onHost(plan.source.words) : new StdinEnd());
  const sink = targetGuest ?? (plan.target.on === 'host' ? onHost(plan.target.words) : new StdoutEnd());
  return { source, sink };
}
