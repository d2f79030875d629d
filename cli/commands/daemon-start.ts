import type { Handler } from '../command.ts';

const handler: Handler = async ({ daemon, io }) => {
  const { pid } = await (await daemon()).call('ping', {});
  io.out(`bangerd runs, pid ${pid}\n`);
};
export default handler;
