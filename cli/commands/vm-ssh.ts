import type { VmExecParams } from '../../core/api.ts';
import { isBangerError, missingRequirement } from '../../core/errors.ts';
import type { VmSshResult } from '../../core/rpc/methods.ts';
import type { CommandContext, Handler } from '../command.ts';
import { DaemonLink, type Daemon } from '../daemon-link.ts';
import { Interrupts, interruptExitCode } from '../interrupts.ts';
import { usageError } from '../parse.ts';
import { isUp } from '../refs.ts';
import { runSession } from '../session.ts';
import { remoteCommand } from '../ssh/remote-command.ts';
import { findInPath, runInForeground } from '../ssh/ssh-program.ts';
import { openStreams, wantsTerminal } from '../terminal.ts';

const handler: Handler = async (ctx) => {
  if (ctx.flags.on('no-command') && ctx.trailing.length > 0) throw usageError('--no-command (-N) takes no command');
  const ref = ctx.args[0]!;
  const link = await ctx.daemon();
  const way = await link.call('vm.ssh', { ref }, { read: true });
  const ssh = findInPath('ssh', ctx.io.env);
  if (ssh === undefined) return runByAgent(ctx, link);
  // Not kept meanwhile: a session may last for days, and a daemon be replaced in its course.
  link.close();
  const code = await runInForeground(ssh, sshArgs(ctx, way), ctx.io.env);
  if (isInteractive(ctx) && code !== connectionFailed && !ctx.flags.on('quiet')) await remindOfVm(ctx, way);
  return code;
};
export default handler;

/** What ssh exits with when it is ssh that failed. */
const connectionFailed = 255;

const isInteractive = ({ flags, io, trailing }: CommandContext): boolean => trailing.length === 0 && !flags.on('no-command') && io.isTty(0);

function sshArgs({ flags, trailing }: CommandContext, { configFile, host }: VmSshResult): string[] {
  const user = flags.text('user');
  return [
    '-F', configFile,
    // The server has no post-quantum key exchange, and the way to it leaves this host never. Clients older than 10.1 know no such word.
    '-o', 'IgnoreUnknown=WarnWeakCrypto', '-o', 'WarnWeakCrypto=no-pq-kex',
    ...(flags.on('forward-agent') ? ['-A'] : []),
    ...flags.list('local-forward').flatMap((word) => ['-L', word]),
    ...flags.list('remote-forward').flatMap((word) => ['-R', word]),
    ...flags.list('dynamic-forward').flatMap((word) => ['-D', word]),
    ...(flags.on('tty') ? ['-t'] : []),
    ...(flags.on('no-command') ? ['-N'] : []),
    ...(user === undefined ? [] : ['-l', user]),
    host,
    ...(trailing.length === 0 ? [] : ['--', remoteCommand(trailing)]),
  ];
}

const onlyBySsh = ['forward-agent', 'local-forward', 'remote-forward', 'dynamic-forward', 'no-command'];

/** Commands and a shell work without ssh; what only ssh has is refused. */
async function runByAgent({ args, flags, io, trailing }: CommandContext, link: Daemon): Promise<number> {
  const needing = onlyBySsh.filter((name) => flags.on(name) || flags.list(name).length > 0);
  if (needing.length > 0) throw missingRequirement(`There is no ssh in PATH, and --${needing[0]!} needs it`, 'install openssh-client');
  io.err("note: there is no ssh in PATH; this is the guest agent's own terminal\n");
  const wish = { tty: flags.on('tty'), stdin: true, command: trailing };
  if (wish.tty && !wantsTerminal(io, wish)) throw usageError('-t needs a terminal on stdin and stdout', 'leave -t out: the command then gets pipes');
  const interrupts = new Interrupts((signal) => process.exit(interruptExitCode(signal)));
  const open = openStreams(io, wish);
  try {
    const params: VmExecParams = { ref: args[0]!, command: trailing, stdin: true, user: flags.text('user'), ...(open.tty === undefined ? {} : { tty: open.tty }) };
    return await runSession(link, params, { streams: open.streams, interrupts });
  } finally {
    open.restore();
    interrupts.dispose();
  }
}

async function remindOfVm({ io }: CommandContext, { host }: VmSshResult): Promise<void> {
  const name = host.replace(/\.vm$/, '');
  try {
    const link = await DaemonLink.open({ env: io.env, say: () => undefined, start: false });
    const { vm } = await link.call('vm.show', { ref: name }, { timeoutMs: 2000, read: true });
    link.close();
    if (isUp(vm)) io.err(`VM ${vm.name} still runs: banger vm stop ${vm.name}\n`);
  } catch (error) {
    if (!isBangerError(error)) throw error; // deleted meanwhile, or no daemon: nothing to remind of
  }
}
