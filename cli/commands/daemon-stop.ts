import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { timedOut } from '../../core/errors.ts';
import { resolvePaths } from '../../core/paths.ts';
import type { Handler } from '../command.ts';
import { ignoreLostConnection, tryConnect, whenClosed } from '../daemon-link.ts';

const goneLimitMs = 30_000;
const pollMs = 5;

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
    const answer = await client.call('shutdown', {}, { timeoutMs: 10_000 }).catch(ignoreLostConnection);
    await gone;
    if (answer !== undefined) await processGone(answer.pid);
    io.out('The daemon has stopped; running VMs go on\n');
  } finally {
    client.close();
  }
};
export default handler;

/** The daemon leaves its socket first and its files last; who stops it may want to remove them. */
async function processGone(pid: number): Promise<void> {
  for (const deadline = Date.now() + goneLimitMs; isLive(pid);) {
    if (Date.now() > deadline) throw timedOut('the daemon to end', goneLimitMs, 'shutdown');
    await delay(pollMs);
  }
}

function isLive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const state = stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3);
    // A zombie whose other threads have yet to end holds its files and locks.
    return state === 'Z' ? readdirSync(`/proc/${pid}/task`).length > 1 : state !== 'X';
  } catch {
    return false; // no such process
  }
}
