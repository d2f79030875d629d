import type { VmExecDetachParams, VmExecParams } from '../../core/api.ts';
import type { CommandContext, Handler } from '../command.ts';
import { refusedExitCode, renderError } from '../errors.ts';
import { Interrupts, interruptExitCode } from '../interrupts.ts';
import { usageError } from '../parse.ts';
import { runSession } from '../session.ts';
import { openStreams, wantsTerminal } from '../terminal.ts';
import { parseEnv } from '../vm-params.ts';

const handler: Handler = async (ctx) => {
  const { flags } = ctx;
  requireSense(ctx);
  const params = commandParams(ctx);
  if (flags.on('all')) return (await import('../exec-all.ts')).execAll(ctx, params);
  if (flags.on('detach')) return detach(ctx, { ref: ctx.args[0]!, ...params });
  return runAttached(ctx, { ref: ctx.args[0]!, ...params });
};
export default handler;

/** @throws bad_request for flags that exclude each other */
function requireSense({ args, flags, trailing }: CommandContext): void {
  const all = flags.on('all');
  if (all && args.length > 0) throw usageError(`--all takes every running VM, so ${args[0]!} is too much`, 'leave one of them out');
  if (!all && args.length === 0) throw usageError('banger vm exec needs <ref>', 'banger vm exec --help shows how it is used; --all means every running VM');
  const alone = all ? '--all' : flags.on('detach') ? '-d' : undefined;
  if (alone === undefined) return;
  if (flags.on('tty') || flags.on('interactive')) throw usageError(`${alone} runs without stdin and terminal, so -t and -i do not go with it`);
  if (trailing.length === 0) throw usageError(`${alone} needs a command`, `banger vm exec ${alone} ... -- <command>`);
}

/** What a command is told whichever way it runs; `ref` and stdin are the way's own. */
export type Command = Omit<VmExecDetachParams, 'ref'>;

function commandParams({ flags, io, trailing }: CommandContext): Command {
  const env = parseEnv(flags.list('env'), io.env);
  const [path, cwd] = [flags.text('guest-path'), flags.text('cwd')];
  if (path !== undefined && cwd !== undefined && path !== cwd) throw usageError('--guest-path and --cwd are the same, and name two directories');
  return {
    command: trailing, cwd: path ?? cwd, user: flags.text('user'),
    ...(Object.keys(env).length === 0 ? {} : { env }), ...(flags.on('login') ? { login: true } : {}),
  };
}

async function detach({ daemon, io }: CommandContext, params: VmExecDetachParams): Promise<number> {
  const link = await daemon();
  try {
    io.out(`${(await link.call('vm.exec.detach', params)).id}\n`);
    return 0;
  } catch (error) {
    const code = refusedExitCode(error);
    if (code === undefined) throw error;
    io.err(renderError(error, io));
    return code;
  }
}

async function runAttached({ daemon, flags, io, trailing }: CommandContext, params: Omit<VmExecParams, 'stdin'>): Promise<number> {
  const wish = { tty: flags.on('tty'), stdin: !flags.on('no-stdin') || flags.on('interactive'), command: trailing };
  if (wish.tty && !wantsTerminal(io, wish)) throw usageError('-t needs a terminal on stdin and stdout', 'leave -t out: the command then gets pipes');
  const link = await daemon();
  const interrupts = new Interrupts((signal) => process.exit(interruptExitCode(signal)));
  const open = openStreams(io, wish);
  try {
    const tty = open.tty === undefined ? {} : { tty: open.tty };
    return await runSession(link, { ...params, stdin: wish.stdin, ...tty }, { streams: open.streams, interrupts });
  } finally {
    open.restore();
    interrupts.dispose();
  }
}
