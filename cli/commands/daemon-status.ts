import type { Handler } from '../command.ts';
import { notRunningDaemon, tryConnect } from '../daemon-link.ts';
import { jsonText } from '../render/json.ts';
import { keyValue } from '../render/keyvalue.ts';
import { formatBytes } from '../render/units.ts';
import { resolvePaths } from '../../core/paths.ts';

/** Starts no daemon and replaces none: it reports on what is there. */
const handler: Handler = async ({ flags, io }) => {
  const client = await tryConnect(resolvePaths(io.env));
  if (!client) throw notRunningDaemon();
  try {
    const status = await client.call('daemon.status', {}, { timeoutMs: 10_000 });
    io.out(flags.on('json') ? jsonText(status) : keyValue([
      ['pid', status.pid], ['version', status.version], ['build', status.build], ['protocol', status.protocol], ['started', status.startedAt],
      ['socket', status.socket], ['state', status.stateDir], ['config', status.configFile], ['log', status.logFile],
      ['vms', `${status.vms.running} running, ${status.vms.total} in all`], ['operations', status.operations], ['memory', formatBytes(status.memoryRssBytes)],
    ]));
  } finally {
    client.close();
  }
};
export default handler;
