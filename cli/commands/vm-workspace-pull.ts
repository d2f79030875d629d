import type { Handler } from '../command.ts';
import { withInterrupts } from '../operation.ts';
import { jsonText } from '../render/json.ts';
import { absolutePath } from '../workspace/options.ts';
import { pulledLine, pullWork } from '../workspace/pull.ts';

const handler: Handler = async ({ args, daemon, flags, io }) => {
  const [ref, path] = args;
  const guestPath = flags.text('guest-path');
  const where = { ref: ref!, ...(guestPath === undefined ? {} : { guestPath }), ...(path === undefined ? {} : { path: absolutePath(path) }) };
  return withInterrupts(async (interrupts) => {
    const pulled = await pullWork(await daemon(), where, { io, interrupts, quiet: flags.on('quiet') });
    io.out(flags.on('json') ? jsonText(pulled.result) : `${pulledLine(pulled, process.cwd())}\n`);
    return 0;
  });
};
export default handler;
