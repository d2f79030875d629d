// The command line of this process, with its descriptors, environment and exit.
import { BrokenPipe, brokenPipeExitCode, processIo } from './io.ts';
import { run } from './run.ts';

export { run };

/** Runs the words and ends the process; handlers' errors have become exit codes by then. */
export async function main(words: readonly string[]): Promise<never> {
  try {
    process.exit(await run(words, processIo()));
  } catch (error) {
    if (error instanceof BrokenPipe) process.exit(brokenPipeExitCode);
    process.stderr.write(`banger: internal error: ${error instanceof Error ? error.stack ?? error.message : String(error)}\n`);
    process.exit(1);
  }
}
