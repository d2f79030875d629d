import { unsupported } from '../../core/errors.ts';
import type { CommandContext, Handler } from '../command.ts';
import { usageError } from '../parse.ts';
import { jsonText } from '../render/json.ts';
import { keyValue } from '../render/keyvalue.ts';
import { isIncluded, withInclude, withoutInclude } from '../ssh/fence.ts';
import { readUserConfig, replaceUserConfig, userConfig, type UserConfig } from '../ssh/user-config.ts';

const handler: Handler = async (ctx) => {
  const { flags, io } = ctx;
  const [install, uninstall] = [flags.on('install'), flags.on('uninstall')];
  if (install && uninstall) throw usageError('--install and --uninstall exclude each other');
  if (flags.on('json') && (install || uninstall)) throw usageError('--json goes without --install and --uninstall');
  const user = userConfig(io.env);
  if (uninstall) return remove(ctx, user);
  const { configFile, include } = await (await ctx.daemon()).call('ssh.config', {}, { read: true });
  const text = readUserConfig(user.file);
  const installed = include !== null && isIncluded(text ?? '', include);
  if (install) return add(ctx, user, { configFile, include, text });
  if (flags.on('json')) {
    io.out(jsonText({ configFile, include, userConfigFile: user.file, installed }));
    return;
  }
  io.out(keyValue([
    ['config', configFile], ['include', include ?? 'not possible: the path has characters that ssh clients read differently'],
    ['installed', installed ? `yes, in ${user.file}: ssh <name>.vm works` : `no: banger ssh-config --install puts the line at the top of ${user.file}`],
  ]));
  noteOtherHome(ctx, user);
};
export default handler;

interface Wanted { readonly configFile: string; readonly include: string | null; readonly text: string | undefined }

function add(ctx: CommandContext, user: UserConfig, { configFile, include, text }: Wanted): void {
  if (include === null) throw unsupported(`${configFile} cannot be included so that every ssh client reads it`, `ssh -F with that file works; a state directory without %, $, " and \\ would do (XDG_STATE_HOME)`);
  const next = withInclude(text, include, user.file);
  if (next === text) ctx.io.out(`${user.file} has it already: ssh <name>.vm works\n`);
  else {
    replaceUserConfig(user.file, next);
    ctx.io.out(`${user.file} includes ${configFile} now: ssh <name>.vm works\n`);
  }
  noteOtherHome(ctx, user);
}

/** Needs no daemon: what is ours is between our marks. */
function remove({ io }: CommandContext, user: UserConfig): void {
  const text = readUserConfig(user.file);
  const next = text === undefined ? undefined : withoutInclude(text, user.file);
  if (next === text) {
    io.out(`${user.file} has nothing of banger\n`);
    return;
  }
  replaceUserConfig(user.file, next);
  io.out(`${user.file} is as it was before banger ssh-config --install\n`);
}

function noteOtherHome({ io }: CommandContext, { file, fileOfSsh }: UserConfig): void {
  if (fileOfSsh !== undefined) io.err(`note: ssh goes by the list of users and not by HOME: it reads ${fileOfSsh}; with ssh -F ${file} it reads the other\n`);
}
