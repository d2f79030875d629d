import type { VmCreateParams, VmView } from '../../core/api.ts';
import { badRequest, isBangerError } from '../../core/errors.ts';
import { nameIssues } from '../../core/names.ts';
import type { CommandContext, Handler } from '../command.ts';
import { createVm } from '../create-vm.ts';
import type { Daemon } from '../daemon-link.ts';
import { renderError } from '../errors.ts';
import { interruptExitCode, type Interrupts } from '../interrupts.ts';
import { BrokenPipe, brokenPipeExitCode } from '../io.ts';
import { withInterrupts } from '../operation.ts';
import { usageError } from '../parse.ts';
import { isUp } from '../refs.ts';
import { jsonText } from '../render/json.ts';
import { runSession } from '../session.ts';
import { openStreams, wantsTerminal, type TerminalWish } from '../terminal.ts';
import { createParams } from '../vm-params.ts';
import { planText } from '../plan-text.ts';
import { repositoryFlags } from '../workspace/options.ts';
import { shellWord } from '../workspace/prepare.ts';
import { bringBack, prepareFor, WorkNotBack } from '../workspace/run.ts';
import { planSource, showSource, type Source } from '../workspace/source.ts';
import { bootstrapBehind, bootstrapNow } from '../workspace/bootstrap.ts';

const handler: Handler = async (ctx) => {
  const { flags, io } = ctx;
  const wish = { tty: flags.on('tty'), stdin: !flags.on('no-stdin') || flags.on('interactive'), command: ctx.trailing };
  requireSense(ctx, wish);
  const params = createParams(ctx);
  requireName(params.name);
  const source = ctx.args[0] === undefined ? undefined : await planSource(ctx, ctx.args[0], { bootstrap: !flags.on('no-bootstrap') && ctx.trailing.length === 0 });
  if (source && flags.on('dry-run')) return showSource(ctx, source);
  const daemon = await ctx.daemon();
  if (flags.on('plan')) {
    const plan = await daemon.call('vm.plan', params);
    io.out(flags.on('json') ? jsonText(plan) : planText(plan));
    return 0;
  }
  return withInterrupts((interrupts) => runVm(ctx, { daemon, interrupts, params, wish, source }));
};
export default handler;

/** What makes no sense together is refused before anything is made. */
function requireSense({ args, flags, io, trailing }: CommandContext, wish: TerminalWish): void {
  const detach = flags.on('detach');
  const ofRepository = repositoryFlags(flags, ['pull', 'no-bootstrap']);
  if (args.length === 0 && ofRepository[0] !== undefined) {
    throw usageError(`${ofRepository[0][0]} needs the path of a repository`, `banger vm run . ${ofRepository.flat().map(shellWord).join(' ')} is the one here`);
  }
  if (detach && flags.on('rm')) throw usageError('--detach and --rm exclude each other', 'a detached VM stays until banger vm delete');
  if (detach && trailing.length > 0) throw usageError('--detach (-d) takes no command', 'banger vm run -d, then banger vm exec <name> -- <command>');
  if (detach && flags.on('pull')) throw usageError('--pull brings work back when the command has ended, and --detach runs none', 'banger vm workspace pull <name> does it later');
  if (flags.on('plan') && flags.on('dry-run')) throw usageError('--plan shows what is made on this host, --dry-run what goes into the VM: one at a time');
  if (flags.on('json') && !flags.on('plan') && !flags.on('dry-run') && !detach) throw usageError('--json goes with --plan, --dry-run or --detach');
  if (wish.tty && !wantsTerminal(io, wish)) throw usageError('-t needs a terminal on stdin and stdout', 'leave -t out: the command then gets pipes');
}

/** The daemon says the same, but only once a repository has been read. */
function requireName(name: string | undefined): void {
  const issues = name === undefined ? [] : nameIssues(name, '--name');
  if (issues.length > 0) throw badRequest(issues, 'flag');
}

interface RunCall {
  readonly daemon: Daemon;
  readonly interrupts: Interrupts;
  readonly params: VmCreateParams;
  readonly wish: TerminalWish;
  readonly source: Source | undefined;
}

async function runVm(ctx: CommandContext, call: RunCall): Promise<number> {
  const { flags, io } = ctx;
  const { daemon, interrupts, source } = call;
  const [remove, quiet] = [flags.on('rm'), flags.on('quiet')];
  // A lease deletes the VM with this process, and with it the work that --pull is about.
  const params = { ...call.params, start: true, ...(remove && !flags.on('pull') ? { lease: true } : {}) };
  const shown = { io, interrupts, quiet };
  const vm = await createVm(daemon, params, shown);
  const removeThis = remove ? (): Promise<void> => removeVm(vm, call) : undefined;
  const workspace = source && await prepareFor(daemon, { vm, params: source.params(vm.id), shown, remove: removeThis });
  if (workspace && source.bootstrap) {
    const setUp = { plan: source.bootstrap, vm, guestPath: workspace.workspace.guestPath, hasNetwork: flags.value('network') !== 'none', shown };
    await (flags.on('detach') ? bootstrapNow : bootstrapBehind)(daemon, setUp);
  }
  if (flags.on('detach')) {
    io.out(flags.on('json') ? jsonText({ vm, ...(workspace === undefined ? {} : { workspace }) }) : `${vm.name}\n`);
    return 0;
  }
  // In this order: what is not back yet keeps its VM.
  const settle = async (): Promise<void> => {
    if (flags.on('pull')) await bringBack(daemon, vm, { shown, wholly: remove });
    await removeThis?.();
  };
  const code = await runAndSettle(() => runCommandIn({ vm, cwd: workspace?.workspace.guestPath }, ctx, call), settle, io);
  if (!remove && ctx.trailing.length === 0 && !quiet) await remindOfVm(vm, ctx, daemon);
  return code;
}

/** The command's exit code, when what comes after it succeeds too; a command that failed to run is the error to tell. @throws both's */
async function runAndSettle(run: () => Promise<number>, settle: () => Promise<void>, io: CommandContext['io']): Promise<number> {
  let code: number;
  try {
    code = await run();
  } catch (error) {
    await settle().catch((second: unknown) => io.err(renderError(second, io)));
    throw error;
  }
  try {
    await settle();
  } catch (error) {
    if (!(error instanceof WorkNotBack)) throw error;
    // Not the command's code: it would say that all is well, or blame the command.
    io.err(renderError(error, io));
    return error.exitCode;
  }
  return code;
}

/** The streams are given back before anything else is said: a raw terminal would garble it. */
async function runCommandIn({ vm, cwd }: { readonly vm: VmView; readonly cwd: string | undefined }, ctx: CommandContext, call: RunCall): Promise<number> {
  const open = openStreams(ctx.io, call.wish);
  try {
    const place = cwd === undefined ? {} : { cwd };
    const params = { ref: vm.id, command: ctx.trailing, stdin: call.wish.stdin, ...place, ...(open.tty === undefined ? {} : { tty: open.tty }) };
    return await runSession(call.daemon, params, { streams: open.streams, interrupts: call.interrupts });
  } catch (error) {
    if (error instanceof BrokenPipe) return brokenPipeExitCode;
    throw error;
  } finally {
    open.restore();
  }
}

/** Delete kills without a graceful shutdown. Should we be interrupted here, the lease, where there is one, deletes the VM all the same. */
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
    if (isUp(now)) io.err(`${vm.name} still runs: banger vm exec ${vm.name}, or banger vm delete ${vm.name}\n`);
  } catch (error) {
    if (!isBangerError(error)) throw error; // deleted meanwhile: nothing to remind of
  }
}
