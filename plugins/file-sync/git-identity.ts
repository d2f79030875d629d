// The host user's name and address for commits, as git's own program tells them.
import type { Exec } from '../../core/plugin-api.ts';

export interface GitIdentity { readonly name?: string; readonly email?: string }

/** Variables that say where git's configuration of the user lies. */
const passed = ['XDG_CONFIG_HOME', 'GIT_CONFIG_GLOBAL'] as const;
const limitMs = 5000;

/**
 * What `git config --global` says; undefined when it says nothing.
 *
 * @throws operation_failed when git fails or is missing
 */
export async function readGitIdentity(exec: Pick<Exec, 'run'>, env: Readonly<Record<string, string | undefined>>): Promise<GitIdentity | undefined> {
  const own = Object.fromEntries([...passed, 'HOME' as const].flatMap((key) => (env[key] === undefined ? [] : [[key, env[key]]])));
  const get = async (key: string): Promise<string | undefined> => {
    // 1: there is no such key.
    const { exitCode, stdout } = await exec.run('git', ['config', '--global', '--includes', '--get', key], { okCodes: [0, 1], env: own, timeoutMs: limitMs });
    const value = stdout.replace(/\n$/, '');
    return exitCode === 0 && value !== '' && !/\p{Cc}/u.test(value) ? value : undefined;
  };
  const [name, email] = [await get('user.name'), await get('user.email')];
  if (name === undefined && email === undefined) return undefined;
  return { ...(name === undefined ? {} : { name }), ...(email === undefined ? {} : { email }) };
}

/** A configuration file for git. */
export function renderGitConfig({ name, email }: GitIdentity): string {
  const line = (key: string, value: string | undefined): string =>
    (value === undefined ? '' : `\t${key} = "${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"\n`);
  return `[user]\n${line('name', name)}${line('email', email)}`;
}
