import type { Handler } from '../command.ts';
import { jsonText } from '../render/json.ts';
import { keyValue } from '../render/keyvalue.ts';
import { table } from '../render/table.ts';
import { formatDuration } from '../render/units.ts';

const handler: Handler = async ({ args, daemon, flags, io }) => {
  const result = await (await daemon()).call('daemon.operations.show', { id: args[0]! }, { read: true });
  if (flags.on('json')) return io.out(jsonText(result));
  const { operation } = result;
  io.out(keyValue([
    ['id', operation.id], ['kind', operation.kind], ['subject', operation.subject], ['state', operation.state],
    ['stage', operation.stage], ['detail', operation.detail], ['started', operation.startedAt], ['finished', operation.finishedAt],
    ['error', operation.error && `${operation.error.code}: ${operation.error.message}`],
  ]));
  if (operation.timeline.length === 0) return;
  io.out(`\n${table(['AT', 'STEP', 'PLUGIN', 'TOOK', 'OUTCOME'], operation.timeline.map((entry) => [
    formatDuration(entry.atMs), entry.name, entry.plugin, entry.durationMs === undefined ? '-' : formatDuration(entry.durationMs), entry.outcome ?? 'running',
  ]))}`);
};
export default handler;
