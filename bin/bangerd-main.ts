// Composition root of the daemon: built-in plugins, signals, exit codes.
import { parseArgs } from 'node:util';
import { buildInfo } from '../core/build-info.ts';
import { startDaemon } from '../core/daemon.ts';
import { writeStartError } from '../core/daemon/start-error.ts';
import { exitCodeFor, isBangerError } from '../core/errors.ts';
import { ensureDirs, resolvePaths } from '../core/paths.ts';
import { lockStateDir, resetStore } from '../core/store/database.ts';
import { builtinPlugins } from '../plugins/index.ts';
import { reservedFlags } from '../cli/reserved-flags.ts';

const usage = `bangerd: the banger daemon; the banger command starts it by itself

  bangerd                runs in the foreground until it is stopped or idle
  bangerd --reset-store  moves a corrupt database aside, when no daemon runs
  bangerd --version
`;

/** An unexpected fault: whatever is half-done is in the ledger, and the next start undoes it. */
const faultExitCode = 70;

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { 'reset-store': { type: 'boolean' }, version: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } });
  if (values.help === true) return say(usage);
  if (values.version === true) return say(`bangerd ${buildInfo().version} (${buildInfo().build})\n`);
  if (values['reset-store'] === true) return reset();
  const daemon = await startDaemon({ plugins: builtinPlugins, reservedFlags });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void daemon.close());
  // The terminal that started us may go; we stay.
  process.on('SIGHUP', () => undefined);
  await daemon.closed;
  return 0;
}

function say(text: string): number {
  process.stdout.write(text);
  return 0;
}

function reset(): number {
  const paths = resolvePaths();
  ensureDirs(paths);
  const lock = lockStateDir(paths.stateDir);
  const aside = resetStore(paths.stateDir);
  lock.release();
  return say(aside === undefined ? 'There is no database to move\n' : `Moved the database to ${aside}\n`);
}

for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error) => {
    process.stderr.write(`bangerd: internal error: ${error instanceof Error ? error.stack : String(error)}\n`);
    process.exit(faultExitCode);
  });
}

try {
  process.exitCode = await main();
} catch (error) {
  // The one that lost the race for the state directory ends quietly: the other answers.
  const lost = isBangerError(error) && error.code === 'busy';
  if (!lost) writeStartError(resolvePaths(), error);
  process.stderr.write(`bangerd: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = lost ? 0 : isBangerError(error) ? exitCodeFor(error.code) : faultExitCode;
}
// Nothing of ours is left to wait for; a stray handle must not keep a stopped daemon alive.
process.exit();
