import type { VmExecParams } from '../../core/api.ts';
import type { Handler } from '../command.ts';
import { Interrupts, interruptExitCode } from '../interrupts.ts';
import { usageError } from '../parse.ts';
import { runSession } from '../session.ts';
import { openStreams, wantsTerminal } from '../terminal.ts';
import { parseEnv } from '../vm-params.ts';

const handler: Handler = async ({ args, daemon, flags, io, trailing }) => {
  const wish = { tty: flags.on('tty'), stdin: !flags.on('no-stdin') || flags.on('interactive'), command: trailing };
  if (wish.tty && !wantsTerminal(io, wish)) throw usageError('-t needs a terminal on stdin and stdout', 'leave -t out: the command then gets pipes');
  const env = parseEnv(flags.list('env'), io.env);
  const link = await daemon();
  const interrupts = new Interrupts((signal) => process.exit(interruptExitCode(signal)));
  const open = openStreams(io, wish);
  try {
    const params: VmExecParams = {
      ref: args[0]!, command: trailing, stdin: wish.stdin, cwd: flags.text('cwd'), user: flags.text('user'),
      ...(Object.keys(env).length === 0 ? {} : { env }), ...(open.tty === undefined ? {} : { tty: open.tty }),
    };
    return await runSession(link, params, { streams: open.streams, interrupts });
  } finally {
    open.restore();
    interrupts.dispose();
  }
};
export default handler;
