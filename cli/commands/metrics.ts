import type { Handler } from '../command.ts';

const handler: Handler = async ({ daemon, io }) => {
  io.out((await (await daemon()).call('stats.metrics', {}, { read: true })).text);
};
export default handler;
