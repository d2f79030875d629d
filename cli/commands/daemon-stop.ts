import { resolvePaths } from '../../core/paths.ts';
import type { Handler } from '../command.ts';
import { ignoreLostConnection, tryConnect, whenClosed } from '../daemon-link.ts';

/** Without a hello: a daemon of another protocol version must be stoppable too. */
const handler: Handler = async ({ io }) => {
  const client = await tryConnect(resolvePaths(io.env));
  if (!client) {
    io.out('The daemon is not running\n');
    return;
  }
  try {
    const gone = whenClosed(client);
    gone.catch(() => undefined); // awaited below, unless the call fails first
    await client.call('shutdown', {}, { timeoutMs: 10_000 }).catch(ignoreLostConnection);
    await gone;
    io.out('The daemon has stopped; running VMs go on\n');
  } finally {
    client.close();
  }
};
export default handler;
