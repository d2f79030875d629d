import { DirectEnd } from '../copy/direct-end.ts';
import { openGuestEnd, type OpenGuestEnd } from '../copy/guest-end.ts';
import { HostEnd } from '../copy/host-end.ts';
import type { Report } from '../copy/host-program.ts';
import { parseOperand, showOperand } from '../copy/operand.ts';
import { planCopy, type CopyPlan, type EndPlan } from '../copy/plan.ts';
import { createCopyProgress, type CopyProgress } from '../copy/progress.ts';
import { runCopy } from '../copy/run-copy.ts';
import { runDirect } from '../copy/run-direct.ts';
import { StdinEnd, StdoutEnd } from '../copy/stream-end.ts';
import type { Surroundings } from '../copy/supervise.ts';
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
    return await copy(ctx, plan, { progress, interrupts, target: showOperand(target) });
  } finally {
    progress.end();
    interrupts.dispose();
  }
};
export default handler;

async function copy(ctx: CommandContext, plan: CopyPlan, around: Surroundings): Promise<number> {
  const { progress } = around;
  const sayAs = (label: string) => (line: string): void => progress.say(`${label}: ${line}`);
  const inGuest = async (end: EndPlan): Promise<OpenGuestEnd | undefined> => (
    end.on === 'guest' ? openGuestEnd(await ctx.daemon(), end.params, sayAs(end.params.ref)) : undefined);
  // The guest's end first: a missing VM is told before anything runs here.
  const [sourceGuest, targetGuest] = [await inGuest(plan.source), await inGuest(plan.target)];
  const guest = sourceGuest ?? targetGuest;
  const other = sourceGuest === undefined ? plan.source : plan.target;
  if (guest?.direct !== undefined && other.on === 'host') {
    const host = new DirectEnd(other.words, { say: sayAs('host'), onReport: showAll(progress), way: guest.direct, guest: guest.params });
    return runDirect({ ...around, host, guest: guest.end, direction: guest.params.direction });
  }
  const onHost = (words: readonly string[]): HostEnd => new HostEnd(words, { say: sayAs('host'), onReport: showName(progress) });
  const source = sourceGuest?.end ?? (plan.source.on === 'host' ? onHost(plan.source.words) : new StdinEnd());
  const sink = targetGuest?.end ?? (plan.target.on === 'host' ? onHost(plan.target.words) : new StdoutEnd());
  return runCopy({ ...around, source, sink });
}

/** Of a stream through our hands the bytes are counted here. */
const showName = (progress: CopyProgress) => (report: Report): void => {
  if (report.kind === 'progress') progress.at(report.name);
};

function showAll(progress: CopyProgress): (report: Report) => void {
  let before = 0;
  return (report) => {
    if (report.kind !== 'progress') return;
    progress.moved(report.bytes - before, report.name);
    before = report.bytes;
  };
}
