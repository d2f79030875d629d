import type { Handler } from '../command.ts';
import { ConsoleSession } from '../console-session.ts';
import { Interrupts, interruptExitCode } from '../interrupts.ts';
import { writeAll } from '../io.ts';
import { openStreams, wantsTerminal } from '../terminal.ts';

/** Undoes what a guest may have set and left: screen, scrolling, mouse and paste reports, keypad, hidden cursor, colours, character sets. */
const settle = '\u001b[?1049l\u001b[!p\u001b[?1000l\u001b[?1002l\u001b[?1003l\u001b[?1006l\u001b[?1004l\u001b[?2004l\u001b[?1l\u001b>\u001b[?25h\u001b(B\u000f\u001b[0m';

const handler: Handler = async ({ args, daemon, io }) => {
  const ref = args[0]!;
  const wish = { tty: true, stdin: true, command: [] };
  const isTerminal = wantsTerminal(io, wish);
  const link = await daemon();
  const { ticket } = await link.call('vm.console', { ref });
  const stream = await link.attach(ticket);
  if (isTerminal) io.err(`Connected to the console of ${ref}; leave with Ctrl-]\n`);
  const open = openStreams(io, wish);
  const session = new ConsoleSession(stream, open.streams);
  let code = 0;
  const interrupts = new Interrupts((signal) => {
    code = interruptExitCode(signal);
    session.leave();
  });
  try {
    const end = await session.run();
    if (isTerminal) writeAll(1, settle);
    open.restore();
    if (end === 'ended') io.err(`${isTerminal ? '\n' : ''}The VM has ended, and its console with it\n`);
    else if (isTerminal) io.err(`\nLeft the console of ${ref}\n`);
    return code;
  } finally {
    open.restore();
    interrupts.dispose();
  }
};
export default handler;
