import type { Handler } from '../command.ts';
import { artifactTable } from '../artifacts.ts';
import { jsonText } from '../render/json.ts';

const handler: Handler = async ({ daemon, flags, io }) => {
  const result = await (await daemon()).call('image.list', {}, { read: true });
  io.out(flags.on('json') ? jsonText(result) : artifactTable(result.images));
};
export default handler;
