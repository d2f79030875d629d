import { operationFailed } from '../../core/errors.ts';
import type { CommandContext, Handler } from '../command.ts';
import { EndLines } from '../copy/lines.ts';
import { withInterrupts } from '../operation.ts';
import type { Interrupts } from '../interrupts.ts';
import { processOutput, type Output } from '../output.ts';
import { attachSession } from '../session.ts';
import { openOutputFile } from '../workspace/output-file.ts';

const handler: Handler = async (ctx) => {
  const path = ctx.flags.text('output');
  return withInterrupts(async (interrupts) => {
    if (path === undefined || path === '-') return exportTo(processOutput(1), ctx, interrupts);
    const file = openOutputFile(path);
    try {
      const code = await exportTo(file, ctx, interrupts);
      if (code === 0) file.keep();
      return code;
    } finally {
      file.dispose();
    }
  });
};
export default handler;

async function exportTo(stdout: Output, { args, daemon, flags, io }: CommandContext, interrupts: Interrupts): Promise<number> {
  const [guestPath, baseCommit] = [flags.text('guest-path'), flags.text('base-commit')];
  const link = await daemon();
  const { ticket } = await link.call('vm.workspace.export', {
    ref: args[0]!, ...(guestPath === undefined ? {} : { guestPath }), ...(baseCommit === undefined ? {} : { baseCommit }),
  });
  const say = (line: string): void => io.err(`guest: ${line}\n`);
  const lines = new EndLines(say);
  const stderr: Output = { write: async (bytes) => lines.push(Buffer.from(bytes)) };
  const sayRest = (): void => {
    const last = lines.takeLast();
    if (last !== undefined) say(last);
  };
  const code = await attachSession(link, ticket, { streams: { stdout, stderr }, interrupts }).catch((error: unknown) => {
    sayRest();
    throw error;
  });
  // The guest's own number means nothing here, and 2 would be our bad usage.
  if (code !== 0 && code <= 128) throw operationFailed(`The guest did not get to the end of the patch: ${lines.takeLast() ?? `exit code ${code}`}`);
  sayRest();
  return code;
}
