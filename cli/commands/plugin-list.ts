import type { Handler } from '../command.ts';
import { jsonText } from '../render/json.ts';
import { table } from '../render/table.ts';

const handler: Handler = async ({ daemon, flags, io }) => {
  const result = await (await daemon()).call('plugin.list', {}, { read: true });
  io.out(flags.on('json') ? jsonText(result) : table(['NAME', 'STATE', 'VERSION', 'SOURCE', 'PROVIDES', 'SUMMARY'], result.plugins.map((plugin) => [
    plugin.name, plugin.state, plugin.version, plugin.source, plugin.provides.join(',') || '-', plugin.reason === undefined ? plugin.summary : `${plugin.summary} (${plugin.reason})`,
  ])));
};
export default handler;
