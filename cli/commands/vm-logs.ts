import type { VmLogsResult } from '../../core/api.ts';
import type { Handler } from '../command.ts';
import { followBoots, printBoot, type AskLogs, type Sink } from '../console-log.ts';
import { writeAll, type Io } from '../io.ts';
import { usageError } from '../parse.ts';
import { jsonText } from '../render/json.ts';
import { table } from '../render/table.ts';
import { formatAge, formatBytes } from '../render/units.ts';
import { TerminalText } from '../terminal-text.ts';

const handler: Handler = async ({ args, daemon, flags, io }) => {
  const boot = flags.integer('boot');
  if (flags.on('json') && !flags.on('list-boots')) throw usageError('--json goes with --list-boots', 'the log itself is bytes: banger vm logs --raw');
  const link = await daemon();
  const ask: AskLogs = (wanted) => link.call('vm.logs', { ref: args[0]!, ...(wanted === undefined ? {} : { boot: wanted }) });
  const logs = await ask(boot);
  if (flags.on('list-boots')) return io.out(flags.on('json') ? jsonText(logs.boots) : bootsTable(logs));
  const { sink, end } = output(io, flags.on('raw'));
  if (flags.on('follow')) await followBoots(ask, logs, sink);
  else printBoot(logs.files, sink);
  end();
};
export default handler;

/** A console's bytes are the guest's: on a terminal only text and colours of them. */
function output(io: Io, isRaw: boolean): { readonly sink: Sink; end(): void } {
  if (isRaw || !io.isTty(1)) return { sink: (bytes) => writeAll(1, bytes), end: () => undefined };
  const text = new TerminalText();
  return { sink: (bytes) => io.out(text.write(bytes)), end: () => io.out(text.end()) };
}

function bootsTable({ boots }: VmLogsResult): string {
  return table(['BOOT', 'BACK', 'SIZE', 'LAST WRITE'], boots.map(({ boot, bytes, lastWriteAt }, i) =>
    [String(boot), String(i + 1 - boots.length), formatBytes(bytes), formatAge(lastWriteAt)]));
}
