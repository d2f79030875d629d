import type { Handler } from '../command.ts';
import { jsonText } from '../render/json.ts';

const handler: Handler = async ({ daemon, flags, io }) => {
  const result = await (await daemon()).call('doctor.reclaim', {});
  if (flags.on('json')) io.out(jsonText(result));
  else {
    io.out(result.removed.length + result.failed.length === 0 ? 'Nothing to reclaim\n' : result.removed.map((name) => `removed ${name}\n`).join(''));
    for (const failure of result.failed) io.err(`banger: Could not remove ${failure.name}: ${failure.error}\n`);
  }
  return result.failed.length === 0 ? 0 : 1;
};
export default handler;
