import type { Handler } from '../command.ts';
import { jsonText } from '../render/json.ts';
import { table } from '../render/table.ts';
import { formatAge } from '../render/units.ts';

const handler: Handler = async ({ daemon, flags, io }) => {
  const result = await (await daemon()).call('daemon.operations.list', {}, { read: true });
  io.out(flags.on('json') ? jsonText(result) : table(['ID', 'KIND', 'SUBJECT', 'STATE', 'STAGE', 'STARTED'], result.operations.map((operation) => [
    operation.id, operation.kind, operation.subject ?? '-', operation.state, operation.done ? '-' : operation.stage ?? '-', formatAge(operation.startedAt),
  ])));
};
export default handler;
