// What git says about bytes of a guest, made fit for people and logs.
import { BangerError, isBangerError } from '../../../core/plugin-api.ts';
import { toBytes } from '../host/bytes.ts';
import { escapeName } from '../host/escape.ts';
import { gitStderr } from '../host/git.ts';
import type { Git } from '../host/git.ts';

/** The last thing git calls an error, else its last line. */
export function lastWord(stderr: string): string {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '');
  return (lines.findLast((line) => /^(error|fatal):/.test(line) && !/fsck error in pack/.test(line)) ?? lines.at(-1) ?? '').slice(0, 300);
}

/** A git whose failures have names of a guest escaped, in the message and in `detail.stderr`. */
export function plainErrors(git: Git): Git {
  return {
    run: (args, options) => git.run(args, options).catch((error: unknown) => {
      if (!isBangerError(error) || error.code !== 'operation_failed') throw error;
      const stderr = gitStderr(error).split('\n').map((line) => escapeName(toBytes(line))).join('\n');
      const command = args.find((arg, n) => !arg.startsWith('-') && args[n - 1] !== '-c') ?? '';
      const signal = error.detail?.['signal'];
      const why = typeof signal === 'string' ? `signal ${signal} ended it` : lastWord(stderr);
      throw new BangerError('operation_failed', `git ${command} failed: ${why}`, { detail: { ...error.detail, stderr } });
    }),
  };
}
