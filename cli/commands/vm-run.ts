import type { VmCreateParams, VmView } from '../../core/api.ts';
import { isBangerError } from '../../core/errors.ts';
import type { CommandContext, Handler } from '../command.ts';
import { createVm, Interrupted } from '../create-vm.ts';
import type { Daemon } from '../daemon-link.ts';
import { renderError } from '../errors.ts';
import { Interrupts, interruptExitCode } from '../interrupts.ts';
import { BrokenPipe, brokenPipeExitCode } from '../io.ts';
import { usageError } from '../parse.ts';
import { jsonText } from '../render/json.ts';
import { runSession } from '../session.ts';
import { openStreams, wantsTerminal, type TerminalWish } from '../terminal.ts';
import { createParams } from '../vm-params.ts';
import { planText } from '../plan-text.ts';

const handler: Handler = async (ctx) => {
  const { flags, io } = ctx;
  const wish = { tty: flags.on('tty'), stdin: !flags.on('no-stdin') || flags.on('interactive'), command: ctx.trailing };
  requireSense(ctx, wish);
  const params = createParams(ctx);
  const daemon = await ctx.daemon();
  if (flags.on('plan')) {
    const plan = await daemon.call('vm.plan', params);
    io.out(flags.on('json') ? jsonText(plan) : planText(plan));
    return 0;
  }
  const interrupts = new Interrupts((signal) => process.exit(interruptExitCode(signal)));
  try {
    return await runVm(ctx, { daemon, interrupts, params, wish });
  } catch (error) {
    if (error instanceof Interrupted) return error.exitCode;
    throw error;
  } finally {
    interrupts.dispose();
  }
};
export default handler;

/** What makes no sense together is refused before anything is made. */
function requireSense({ args, flags, io, trailing }: CommandContext, wish: TerminalWish): void {
  const detach = flags.on('detach');
  if (args.length > 0) throw usageError(`banger vm run does not take ${args[0]!}`, 'put -- before the command');
  if (detach && flags.on('rm')) throw usageError('--detach and --rm exclude each other', 'a detached VM stays until banger vm delete');
  if (detach && trailing.length > 0) throw usageError('--detach (-d) takes no command', 'banger vm run -d, then banger vm exec <name> -- <command>');
  if (flags.on('json') && !flags.on('plan') && !detach) throw usageError('--json goes with --plan or --detach');
  if (wish.tty && !wantsTerminal(io, wish)) throw usageError('-t needs a terminal on stdin and stdout', 'leave -t out: the command then gets pipes');
}

interface RunCall { readonly daemon: Daemon; readonly interrupts: Interrupts; readonly params: VmCreateParams; readonly wish: TerminalWish }

async function runVm(ctx: CommandContext, call: RunCall): Promise<number> {
  const { flags, io } = ctx;
  const { daemon, interrupts } = call;
  const remove = flags.on('rm');
  const params = { ...call.params, start: true, ...(remove ? { lease: true } : {}) };
  const vm = await createVm(daemon, params, { io, interrupts, quiet: flags.on('quiet') });
  if (flags.on('detach')) {
    io.out(flags.on('json') ? jsonText({ vm }) : `${vm.name}\n`);
    return 0;
  }
  let code: number;
  try {
    code = await runCommandIn(vm, ctx, call);
  } catch (error) {
    if (!remove) throw error;
    // The deletion's own trouble must not hide this error.
    await removeVm(vm, call).catch((second: unknown) => io.err(renderError(second, io)));
    throw error;
  }
  if (remove) await removeVm(vm, call);
  else if (ctx.trailing.length === 0 && !flags.on('quiet')) await remindOfVm(vm, ctx, daemon);
  return code;
}

/** The streams are given back before anything else is said: a raw terminal would garble it. */
async function runCommandIn(vm: VmView, ctx: CommandContext, call: RunCall): Promise<number> {
  const open = openStreams(ctx.io, call.wish);
  try {
    const params = { ref: vm.id, command: ctx.trailing, stdin: call.wish.stdin, ...(open.tty === undefined ? {} : { tty: open.tty }) };
    return await runSession(call.daemon, params, { streams: open.streams, interrupts: call.interrupts });
  } catch (error) {
    if (error instanceof BrokenPipe) return brokenPipeExitCode;
    throw error;
  } finally {
    open.restore();
  }
}

/** Delete kills without a graceful shutdown. Should we be interrupted here, the lease deletes the VM all the same. */
async function removeVm(vm: VmView, { daemon, interrupts }: RunCall): Promise<void> {
  let asked = false;
  interrupts.handle((signal) => {
    if (asked || signal === 'HUP') process.exit(interruptExitCode(signal));
    asked = true;
  });
  try {
    await daemon.call('vm.delete', { ref: vm.id });
  } catch (error) {
    if (!isBangerError(error) || error.code !== 'not_found') throw error; // somebody else deleted it meanwhile
  }
}

async function remindOfVm(vm: VmView, { io }: CommandContext, daemon: Daemon): Promise<void> {
  try {
    const { vm: now } = await daemon.call('vm.show', { ref: vm.id }, { timeoutMs: 2000 });
    if (now.state === 'running') io.err(`${vm.name} still runs: banger vm exec ${vm.name}, or banger vm delete ${vm.name}\n`);
  } catch (error) {
    if (!isBangerError(error)) throw error; // deleted meanwhile: nothing to remind of
  }
}
