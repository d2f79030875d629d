import { missingRequirement } from '../../core/errors.ts';
import type { Handler } from '../command.ts';
import { usageError } from '../parse.ts';
import { findInPath, runInForeground } from '../ssh/ssh-program.ts';
import { inRepository } from '../workspace/kept.ts';

const handler: Handler = async (ctx) => {
  const { args, flags, io } = ctx;
  const [stat, nameOnly] = [flags.on('stat'), flags.on('name-only')];
  if (stat && nameOnly) throw usageError('--stat and --name-only exclude each other');
  const git = findInPath('git', io.env);
  if (git === undefined) throw missingRequirement('Program git is not found', 'install the package that has git');
  let words: readonly string[] | undefined;
  const code = await inRepository(ctx, async ({ host, repo }) => {
    const work = await host.resolveWork(host.exec, repo, args[0]!, args[1]);
    words = ['-C', repo.root, ...host.diffArgs(work, { stat, nameOnly })];
    return 0;
  });
  if (words === undefined) return code; // interrupted
  // The person's own git on the person's terminal: pager, colours and environment are as they have them.
  return runInForeground(git, words, io.env);
};
export default handler;
