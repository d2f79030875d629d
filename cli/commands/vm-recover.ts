import type { VmRecoverResult } from '../../core/api.ts';
import type { Handler } from '../command.ts';
import { jsonText } from '../render/json.ts';
import { createProgress } from '../render/progress.ts';
import { printable, table } from '../render/table.ts';

const handler: Handler = async ({ args: [ref = ''], daemon, flags, io }) => {
  const reset = ['root', 'work'].filter((word) => flags.on(`reset-${word}`));
  const progress = createProgress(io, { quiet: flags.on('json') });
  const connection = await daemon();
  const result = await connection.call('vm.recover', { ref, reset }, { onProgress: (notice) => progress.show(notice) }).finally(() => progress.end());
  io.out(flags.on('json') ? jsonText(result) : recoverText(result));
  return result.startable ? 0 : 1;
};
export default handler;

/** What was found, a row each, and below it what can be done. */
export function recoverText({ vm, startable, findings }: VmRecoverResult): string {
  const hints = findings.flatMap(({ subject, hint }) => hint === undefined ? [] : [`  hint: ${printable(subject)}: ${printable(hint)}\n`]);
  return `${vm.name} can${startable ? '' : 'not'} be started\n${table(['WHAT', 'STATE', 'FOUND'], findings.map(({ subject, state, text }) => [subject, state, text]))}${hints.join('')}`;
}
