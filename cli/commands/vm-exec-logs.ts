import type { KeptCommand } from '../../core/api.ts';
import type { CommandContext, Handler } from '../command.ts';
import { Interrupts, interruptExitCode } from '../interrupts.ts';
import { processOutput } from '../output.ts';
import { usageError } from '../parse.ts';
import { jsonText } from '../render/json.ts';
import { table } from '../render/table.ts';
import { formatAge } from '../render/units.ts';
import { attachSession } from '../session.ts';

const handler: Handler = async (ctx) => {
  const { args, flags, io } = ctx;
  const [ref, id] = args;
  if (id !== undefined && flags.on('json')) throw usageError('--json is for the list of commands', 'leave the id out');
  if (id !== undefined) return printOutput(ctx, { ref: ref!, id });
  if (flags.on('follow')) throw usageError('-f needs the id of a command', `banger vm exec logs ${ref!} lists them`);
  const result = await (await ctx.daemon()).call('vm.exec.list', { ref: ref! }, { read: true });
  io.out(flags.on('json') ? jsonText(result) : keptTable(result.commands));
  return 0;
};
export default handler;

async function printOutput({ daemon, flags }: CommandContext, { ref, id }: { readonly ref: string; readonly id: string }): Promise<number> {
  if (!/^[0-9a-f]{1,32}$/.test(id)) throw usageError(`${id} is no id of a command`, `banger vm exec logs ${ref} lists them`);
  const link = await daemon();
  const interrupts = new Interrupts((signal) => process.exit(interruptExitCode(signal)));
  try {
    const { ticket } = await link.call('vm.exec.logs', { ref, id, follow: flags.on('follow') });
    return await attachSession(link, ticket, { streams: { stdout: processOutput(1), stderr: processOutput(2) }, interrupts });
  } finally {
    interrupts.dispose();
  }
}

/** The table of kept commands. */
export function keptTable(commands: readonly KeptCommand[]): string {
  return table(['ID', 'STATE', 'EXIT', 'USER', 'STARTED', 'COMMAND'], commands.map((kept) => [
    kept.id, kept.state, exitText(kept), kept.user, formatAge(kept.startedAt), kept.command.join(' '),
  ]));
}

const exitText = ({ exit }: KeptCommand): string => (exit === undefined ? '-' : 'code' in exit ? String(exit.code) : exit.signal);
