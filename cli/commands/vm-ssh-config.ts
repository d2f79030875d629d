import type { Handler } from '../command.ts';

const handler: Handler = async ({ args, daemon, io }) => {
  const { stanza } = await (await daemon()).call('vm.ssh', { ref: args[0]!, stopped: true }, { read: true });
  io.out(stanza);
};
export default handler;
