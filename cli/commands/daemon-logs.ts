import { resolvePaths } from '../../core/paths.ts';
import type { Handler } from '../command.ts';
import { followFiles, printFiles } from '../follow.ts';

const defaultLines = 200;

/** Read from the file: it is there also when the daemon is not. */
const handler: Handler = async ({ flags, io }) => {
  const { daemonLog } = resolvePaths(io.env);
  const lines = flags.integer('lines') ?? defaultLines;
  if (flags.on('path')) io.out(`${daemonLog}\n`);
  else if (flags.on('follow')) await followFiles(async () => [daemonLog], io, lines);
  else printFiles([daemonLog], io, lines);
};
export default handler;
