// Every directory, file and socket name of ours, and the only recursive delete. Imported by the CLI: node modules only.
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, lstatSync, mkdirSync, readFileSync, realpathSync } from 'node:fs';
import { lstat, readFile, realpath, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { BangerError, operationFailed } from './errors.ts';

/** `sun_path` holds 108 bytes with the terminating zero (unix(7)). */
export const maxSocketPathBytes = 107;

export interface Paths {
  readonly uid: number;
  readonly stateDir: string;
  readonly cacheDir: string;
  readonly configFile: string;
  /** The daemon's listening socket. */
  readonly socket: string;
  readonly database: string;
  readonly daemonLog: string;
  readonly vmsDir: string;
  /** Set only when sockets below the state directory could exceed 107 bytes: then all sockets live below this one. */
  readonly shortSocketDir?: string;
  vmDir(id: string): string;
  /** Directory of a VM's sockets: its own directory, or one below `shortSocketDir`. */
  vmSocketDir(id: string): string;
  /** At most 107 bytes. `name`: at most 12 characters of [a-z0-9-]. */
  socketPath(vmId: string, name: string): string;
  pluginState(name: string): string;
  pluginCache(name: string): string;
}

type Env = Readonly<Record<string, string | undefined>>;

/** Where everything lies for a user: XDG variables win, then root's system directories, then the user's home. */
export function resolvePaths(env: Env = process.env, uid: number = ownUid()): Paths {
  const stateDir = xdgDir(env, 'XDG_STATE_HOME') ?? (uid === 0 ? '/var/lib/banger' : join(homeOf(env), '.local/state/banger'));
  const cacheDir = xdgDir(env, 'XDG_CACHE_HOME') ?? (uid === 0 ? '/var/cache/banger' : join(homeOf(env), '.cache/banger'));
  const configDir = xdgDir(env, 'XDG_CONFIG_HOME') ?? (uid === 0 ? '/etc/banger' : join(homeOf(env), '.config/banger'));
  const configFile = env['BANGER_CONFIG'] ? resolve(env['BANGER_CONFIG']) : join(configDir, 'config.toml');
  const vmsDir = join(stateDir, 'vms');
  const short = shortSocketDir(stateDir, uid);
  const vmDir = (id: string): string => join(vmsDir, requirePart(id));
  const vmSocketDir = (id: string): string => (short ? join(short, requirePart(id)) : vmDir(id));
  return {
    uid, stateDir, cacheDir, configFile, vmsDir,
    socket: join(short ?? stateDir, 'bangerd.sock'),
    database: join(stateDir, 'banger.db'),
    daemonLog: join(stateDir, 'bangerd.log'),
    ...(short ? { shortSocketDir: short } : {}),
    vmDir, vmSocketDir,
    socketPath: (vmId, name) => join(vmSocketDir(vmId), `${requirePart(name, maxSocketName)}.sock`),
    pluginState: (name) => join(stateDir, 'plugins', requirePart(name)),
    pluginCache: (name) => join(cacheDir, 'plugins', requirePart(name)),
  };
}

const maxSocketName = 12;

/** A part of a path that cannot leave its directory. */
function requirePart(part: string, max = 64): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]*$/.test(part) || part.length > max) {
    throw new BangerError('internal', `Not a usable part of a path: ${JSON.stringify(part)}`);
  }
  return part;
}

/** Relative XDG paths are to be ignored (XDG Base Directory Specification). */
function xdgDir(env: Env, name: string): string | undefined {
  const value = env[name];
  return value && isAbsolute(value) ? join(value, 'banger') : undefined;
}

function homeOf(env: Env): string {
  const home = env['HOME'];
  return home && isAbsolute(home) ? home : homedir();
}

function ownUid(): number {
  return process.getuid?.() ?? 0;
}

/** One decision for all sockets of a state directory, from the longest path a VM's socket can have. */
function shortSocketDir(stateDir: string, uid: number): string | undefined {
  const longest = join(stateDir, 'vms', 'x'.repeat(12), `${'x'.repeat(maxSocketName)}.sock`);
  if (Buffer.byteLength(longest) <= maxSocketPathBytes) return undefined;
  return `/tmp/banger-${uid}-${createHash('sha256').update(stateDir).digest('hex').slice(0, 8)}`;
}

/**
 * Makes the directories the daemon needs. State is 0700; for root 0711, because VMMs run as other uids and pass through it.
 * @throws operation_failed when a socket directory in /tmp belongs to somebody else.
 */
export function ensureDirs(paths: Paths): void {
  const mode = dirMode(paths);
  for (const dir of [paths.stateDir, paths.vmsDir, join(paths.stateDir, 'plugins')]) makeDir(dir, mode);
  makeDir(paths.cacheDir, 0o700);
  if (paths.shortSocketDir) {
    mkdirOnce(paths.shortSocketDir, mode);
    requireSafeSocketDir(paths);
  }
}

/** Makes a VM's directory, and the one of its sockets where that is another. Safe to call again. */
export function ensureVmDirs(paths: Paths, vmId: string): void {
  for (const dir of new Set([paths.vmDir(vmId), paths.vmSocketDir(vmId)])) makeDir(dir, dirMode(paths));
}

/** Removes a VM's directory and the one of its sockets. Safe to call again. */
export async function removeVmDirs(paths: Paths, vmId: string): Promise<void> {
  if (paths.shortSocketDir) await removeTree(paths.vmSocketDir(vmId), { within: paths.shortSocketDir });
  await removeTree(paths.vmDir(vmId), { within: paths.vmsDir });
}

/** Refuses a socket directory in /tmp that somebody else made first. Does nothing when sockets are in the state directory. */
export function requireSafeSocketDir(paths: Paths): void {
  const dir = paths.shortSocketDir;
  if (!dir) return;
  const stat = lstatSync(dir);
  if (!stat.isDirectory() || stat.uid !== paths.uid || (stat.mode & 0o022) !== 0) {
    throw operationFailed(`Directory ${dir} for sockets is not ours`, {
      hint: `remove ${dir}, or set XDG_STATE_HOME to a shorter path so that it is not needed`,
    });
  }
}

const dirMode = (paths: Paths): number => (paths.uid === 0 ? 0o711 : 0o700);

/** mkdir's mode is subject to the umask, so it is set again; an existing directory of ours gets it too. */
function makeDir(dir: string, mode: number): void {
  mkdirSync(dir, { recursive: true, mode });
  chmodSync(dir, mode);
}

function mkdirOnce(dir: string, mode: number): void {
  try {
    mkdirSync(dir, { mode });
    chmodSync(dir, mode);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/**
 * The only recursive delete. Removes a file or directory tree strictly inside `within`; a missing one is no error.
 *
 * Refuses: a path outside `within` or `within` itself, a path reached through a symlink, a symlink, and a tree with something
 * mounted in it. Symlinks inside the tree are removed, never followed.
 * @throws operation_failed when refused
 */
export async function removeTree(path: string, options: { readonly within: string }): Promise<void> {
  const target = resolve(path);
  const within = resolve(options.within);
  if (!isInside(target, within)) throw refuse(path, `it is not inside ${within}`);
  const stat = await lstat(target).catch(ignoreMissing);
  if (!stat) return;
  if (stat.isSymbolicLink()) throw refuse(path, 'it is a symbolic link');
  const real = join(await realpath(dirname(target)), basename(target));
  const expected = join(await realpath(within), relative(within, target));
  if (real !== expected) throw refuse(path, 'a directory above it is a symbolic link');
  const mount = stat.isDirectory() ? await mountInside(real) : undefined;
  if (mount !== undefined) throw refuse(path, `${mount} is mounted in it`);
  await rm(real, { recursive: true, force: true, maxRetries: 3, retryDelay: 20 });
}

function isInside(path: string, dir: string): boolean {
  const rel = relative(dir, path);
  return rel !== '' && rel !== '..' && !rel.startsWith('../') && !isAbsolute(rel);
}

const refuse = (path: string, why: string): BangerError => operationFailed(`Refusing to delete ${path}: ${why}`);

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error;
}

/** Field 5 of /proc/self/mountinfo is the mount point, with space, tab, newline and backslash as octal (proc_pid_mountinfo(5)). */
async function mountInside(dir: string): Promise<string | undefined> {
  const table = await readFile('/proc/self/mountinfo', 'utf8');
  for (const line of table.split('\n')) {
    const point = line.split(' ')[4]?.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
    if (point !== undefined && (point === dir || isInside(point, dir))) return point;
  }
  return undefined;
}

let root: string | undefined;

/** Root directory of the banger package: the nearest directory above this file with a package.json, from source and from `dist`. */
export function packageRoot(): string {
  if (root !== undefined) return root;
  let dir = realpathSync(import.meta.dirname);
  while (!existsSync(join(dir, 'package.json'))) {
    const parent = dirname(dir);
    if (parent === dir) throw new BangerError('internal', 'The package directory of banger is not found');
    dir = parent;
  }
  root = dir;
  return dir;
}

/** Version of the package, from package.json. */
export function packageVersion(): string {
  const manifest = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { version: string };
  return manifest.version;
}

/** Directory of the built programs for host and guest. */
export function nativeDir(): string {
  return join(packageRoot(), 'dist', 'native');
}
