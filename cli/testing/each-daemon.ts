// A scripted daemon of its own for every test of a file.
import { afterEach, beforeEach } from 'vitest';
import { FakeDaemon } from './fake-daemon.ts';
import { runCli, type CliResult } from './run-cli.ts';

/** Makes one before each test and hands it over; it is gone after it. Gives what runs the command line against it. */
export function eachDaemon(take: (daemon: FakeDaemon) => void): (...words: string[]) => Promise<CliResult> {
  let daemon: FakeDaemon;
  beforeEach(async () => {
    daemon = await new FakeDaemon().listen();
    take(daemon);
  });
  afterEach(async () => {
    await daemon.dispose();
  });
  return (...words) => runCli(words, { env: daemon.env });
}
