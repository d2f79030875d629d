import type { Handler } from '../command.ts';
import { followFiles, printFiles } from '../follow.ts';

const handler: Handler = async ({ args, daemon, flags, io }) => {
  const link = await daemon();
  const ref = args[0]!;
  const list = async (): Promise<readonly string[]> => (await link.call('vm.logs', { ref })).files;
  if (flags.on('follow')) await followFiles(list, io);
  else printFiles(await list(), io);
};
export default handler;
