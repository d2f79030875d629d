// The guest repository's own configuration, ignore rules and attributes: what decides how its files compare with its index, and who works in it.
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { fromBytes, toBytes } from './bytes.ts';
import type { Git } from './git.ts';
import type { GitConfig } from './git-config.ts';
import { withoutSecrets } from './origin-url.ts';
import type { Repository } from './repository.ts';

export interface ConfigInput {
  readonly repo: Repository;
  readonly config: GitConfig;
  /** Short name of the guest's branch, if the host has one of this name at HEAD. */
  readonly branch?: string | undefined;
  /** Submodules that are carried; latin1. */
  readonly submodules: readonly string[];
  /** For a submodule: its working tree as seen from its git directory; latin1. */
  readonly worktree?: string | undefined;
  /** In the guest: the host's global attributes; latin1. */
  readonly attributesFile?: string | undefined;
  readonly isSparse: boolean;
}

/** Of `core`: they decide how working files compare with the index. */
const copied = ['autocrlf', 'eol', 'safecrlf', 'ignorecase', 'symlinks', 'filemode'];

/** Text of a configuration file; latin1. */
export function guestConfig(input: ConfigInput): string {
  const { repo, config } = input;
  const isSha256 = repo.objectFormat === 'sha256';
  const core: Record<string, string> = {
    repositoryformatversion: isSha256 ? '1' : '0', filemode: 'true', bare: 'false', logallrefupdates: 'true',
    // The index has the host's inodes and change times, which mean nothing in the guest: size, and time to the second, are what it can go by.
    checkStat: 'minimal', trustctime: 'false',
  };
  for (const key of copied) {
    const value = config.get(`core.${key}`);
    if (value !== undefined) core[key] = toBytes(value);
  }
  if (input.worktree !== undefined) core['worktree'] = input.worktree;
  if (input.attributesFile !== undefined) core['attributesFile'] = input.attributesFile;
  if (input.isSparse) {
    core['sparseCheckout'] = 'true';
    core['sparseCheckoutCone'] = String(config.flag('core.sparsecheckoutcone') ?? true);
  }
  const { name, email } = repo.identity;
  return [
    section('core', core),
    isSha256 ? section('extensions', { objectFormat: 'sha256' }) : '',
    section('user', { ...(name === undefined ? {} : { name: toBytes(name) }), ...(email === undefined ? {} : { email: toBytes(email) }) }),
    repo.origin === undefined ? '' : section('remote', { url: toBytes(repo.origin), fetch: '+refs/heads/*:refs/remotes/origin/*' }, 'origin'),
    input.branch === undefined ? '' : section('branch', upstreamOf(config, input.branch), toBytes(input.branch)),
    ...input.submodules.map((submodule) => section('submodule', { active: 'true', ...submoduleUrl(config, submodule) }, submodule)),
  ].join('');
}

/** The branch of `origin` that a branch follows, as configured; empty when there is none. */
export function upstreamOf(config: GitConfig, branch: string): { readonly remote?: string; readonly merge?: string } {
  const key = `branch.${toBytes(branch)}`;
  const merge = config.get(`${key}.merge`);
  if (config.get(`${key}.remote`) !== 'origin' || !merge?.startsWith('refs/heads/')) return {};
  return { remote: 'origin', merge: toBytes(merge) };
}

function submoduleUrl(config: GitConfig, name: string): { readonly url?: string } {
  const url = config.get(`submodule.${name}.url`);
  return url === undefined ? {} : { url: toBytes(withoutSecrets(url)) };
}

function section(name: string, values: Readonly<Record<string, string>>, sub?: string): string {
  // Git has no way to write such a name.
  if (Object.keys(values).length === 0 || /[\n\0]/.test(sub ?? '')) return '';
  const title = sub === undefined ? name : `${name} "${sub.replaceAll(/["\\]/g, (char) => `\\${char}`)}"`;
  return [`[${title}]`, ...Object.entries(values).map(([key, value]) => `\t${key} = ${quoted(value)}`), ''].join('\n');
}

const escapes: Readonly<Record<string, string>> = { '"': '\\"', '\\': '\\\\', '\n': '\\n', '\t': '\\t', '\b': '\\b' };
const quoted = (value: string): string => (/^[A-Za-z0-9/._+:@*-]+$/.test(value) ? value : `"${value.replaceAll(/["\\\n\t\b]/g, (char) => escapes[char]!)}"`);

/** Contents of the files below `info/`; latin1. */
export interface InfoFiles { readonly exclude: string; readonly attributes: string; readonly globalAttributes: string; readonly sparseCheckout?: string }

export async function readInfo(git: Git, repo: Repository, config: GitConfig): Promise<InfoFiles> {
  const [ownExclude, globalExclude, attributes, globalAttributes, sparse] = await Promise.all([
    readText(join(repo.commonDir, 'info/exclude')), globalFile(git, 'core.excludesFile', 'ignore'),
    readText(join(repo.commonDir, 'info/attributes')), globalFile(git, 'core.attributesFile', 'attributes'),
    config.flag('core.sparsecheckout') === true ? readText(join(repo.gitDir, 'info/sparse-checkout')) : undefined,
  ]);
  return {
    // The repository's own rules come last, because the last rule that fits is the one that counts.
    exclude: [globalExclude, ownExclude].map((text) => (text === '' || text.endsWith('\n') ? text : `${text}\n`)).join(''),
    attributes, globalAttributes, ...(sparse === undefined ? {} : { sparseCheckout: sparse }),
  };
}

async function globalFile(git: Git, key: string, name: string): Promise<string> {
  const { stdout, exitCode } = await git.run(['config', '--type=path', '-z', '--get', key], { okCodes: [0, 1, 128] });
  const chosen = exitCode === 0 ? fromBytes(stdout.replace(/\0$/, '')) : undefined;
  const home = process.env['XDG_CONFIG_HOME'] || join(process.env['HOME'] || homedir(), '.config');
  const file = chosen ?? join(home, 'git', name);
  return isAbsolute(file) ? readText(file) : '';
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'latin1');
  } catch {
    // Not there, or not readable: git goes on without it too.
    return '';
  }
}
