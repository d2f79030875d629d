import type { VmExecDetachParams, VmExecParams } from '../../core/api.ts';
import type { CommandContext, Handler } from '../command.ts';
import { refusedExitCode, renderError } from '../errors.ts';
import { withInterrupts } from '../operation.ts';
import { usageError } from '../parse.ts';
import { runSession } from '../session.ts';
import { openStreams, wantsTerminal } from '../terminal.ts';
import { parseEnv } from '../vm-params.ts';
import { goneError, placeCommand } from '../workspace/exec-place.ts';

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
  if (all && flags.on('auto-prepare')) throw usageError('--auto-prepare is for one VM, --all for every one');
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

async function detach(ctx: CommandContext, command: VmExecDetachParams): Promise<number> {
  const { daemon, io } = ctx;
  const link = await daemon();
  return withInterrupts(async (interrupts) => {
    const place = await placeCommand(ctx, link, { params: command, interrupts });
    try {
      io.out(`${(await link.call('vm.exec.detach', place.params)).id}\n`);
      return 0;
    } catch (error) {
      const code = refusedExitCode(error);
      if (code === undefined) throw error;
      io.err(renderError(await goneError(link, place, code) ?? error, io));
      return code;
    }
  });
}

async function runAttached(ctx: CommandContext, command: Omit<VmExecParams, 'stdin'>): Promise<number> {
  const { daemon, flags, io, trailing } = ctx;
  const wish = { tty: flags.on('tty'), stdin: !flags.on('no-stdin') || flags.on('interactive'), command: trailing };
  if (wish.tty && !wantsTerminal(io, wish)) throw usageError('-t needs a terminal on stdin and stdout', 'leave -t out: the command then gets pipes');
  const link = await daemon();
  return withInterrupts(async (interrupts) => {
    const place = await placeCommand(ctx, link, { params: command, interrupts });
    const open = openStreams(io, wish);
    let code: number;
    try {
      const tty = open.tty === undefined ? {} : { tty: open.tty };
      code = await runSession(link, { ...place.params, stdin: wish.stdin, ...tty }, { streams: open.streams, interrupts });
    } finally {
      open.restore();
    }
    const gone = await goneError(link, place, code);
    if (gone !== undefined) io.err(renderError(gone, io));
    return code;
  });
}
