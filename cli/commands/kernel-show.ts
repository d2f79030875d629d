import type { Handler } from '../command.ts';
import { artifactRows } from '../artifacts.ts';
import { jsonText } from '../render/json.ts';

const handler: Handler = async ({ args, daemon, flags, io }) => {
  const result = await (await daemon()).call('kernel.show', { ref: args[0]! }, { read: true });
  io.out(flags.on('json') ? jsonText(result) : artifactRows(result.kernel));
};
export default handler;
