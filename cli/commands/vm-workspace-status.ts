import type { Handler } from '../command.ts';
import { jsonText } from '../render/json.ts';
import { statusTable } from '../workspace/status.ts';

const handler: Handler = async ({ args, daemon, flags, io }) => {
  const result = await (await daemon()).call('vm.workspace.status', { ref: args[0]! }, { read: true });
  io.out(flags.on('json') ? jsonText(result) : statusTable(result.workspaces));
};
export default handler;
