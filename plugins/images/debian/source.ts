// The default image: Debian by mmdebstrap, from the host's own apt sources, as root or rootless.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { userInfo } from 'node:os';
import { missingRequirement } from '../../../core/plugin-api.ts';
import type { BuiltImage, ImageBuildContext, ImageIdentity, ImageSource } from '../capability.ts';
import type { ImageTools } from '../tools.ts';
import { handOverAptOptions } from './apt-options.ts';
import { archiveLines, hostCodename, readHostSources } from './apt-sources.ts';
import { createProgressReader } from './progress.ts';
import { customizeHook, dpkgOptions, packages } from './recipe.ts';

/** `debian-<release>`; the releases this recipe is written for. */
const refPattern = /^debian-(bookworm|trixie)$/;
/** A build takes about a minute; slow mirrors and machines get thirty times that. */
const buildTimeoutMs = 30 * 60_000;

export interface DebianSettings {
  /** One-line apt entries to use in place of the host's: for hosts that are not Debian. */
  readonly sources: readonly string[];
}

/** Makes the source; `env` is where proxies are looked up. */
export function createDebianSource(
  tools: ImageTools, settings: DebianSettings, env: Readonly<Record<string, string | undefined>>): ImageSource {
  return {
    knows: (ref) => Promise.resolve(identity(ref)),
    build: (ref, staging, ctx) => buildDebian({ tools, settings, env }, { release: releaseOf(ref), staging }, ctx),
  };
}

const identity = (ref: string): ImageIdentity | undefined => (refPattern.test(ref) ? { name: ref } : undefined);
const releaseOf = (ref: string): string => refPattern.exec(ref)?.[1] ?? 'bookworm';

interface Parts {
  readonly tools: ImageTools; readonly settings: DebianSettings; readonly env: Readonly<Record<string, string | undefined>>;
}

async function buildDebian(parts: Parts, target: { release: string; staging: string }, ctx: ImageBuildContext): Promise<BuiltImage> {
  const { tools } = parts;
  const { release, staging } = target;
  await tools.require('mmdebstrap', 'mmdebstrap');
  if (!tools.isRoot) await requireRootless(tools);
  const lines = await sourceLines(parts.settings, release);
  const dump = await tools.exec.run('apt-config', ['dump', 'Acquire'], { signal: ctx.signal });
  const apt = handOverAptOptions(dump.stdout, parts.env);
  const tar = join(staging, 'rootfs.tar');
  const isolation = ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const argv = ['mmdebstrap', '--verbose', `--mode=${tools.isRoot ? 'root' : 'unshare'}`, '--variant=apt', '--format=tar',
    `--include=${packages.join(',')}`, ...dpkgOptions.map((o) => `--dpkgopt=${o}`), ...apt.options.map((o) => `--aptopt=${o}`),
    `--customize-hook=${customizeHook}`, release, tar, ...lines];
  const read = createProgressReader();
  // As root the whole build gets namespaces of its own, so that no mount and no daemon started by a package outlives it;
  // rootless mmdebstrap makes them itself.
  const [program = '', ...args] = tools.isRoot ? ['unshare', ...isolation, ...argv] : argv;
  await tools.exec.run(program, args, {
    timeoutMs: buildTimeoutMs, signal: ctx.signal, mark: ctx.mark, env: { ...apt.env, TMPDIR: ctx.scratch },
    redact: lines.filter((line) => line.includes('@')),
    onLine: (line) => {
      const text = read(line);
      if (text !== undefined) ctx.stage(`image debian-${release}`, text);
    },
  });
  return { rootfs: { kind: 'tar', path: tar }, config: { env: {} }, source: `debian ${release}, ${packages.length} packages and what they need` };
}

async function sourceLines(settings: DebianSettings, release: string): Promise<string[]> {
  if (settings.sources.length > 0) return [...settings.sources];
  const codename = await hostCodename();
  const lines = codename === undefined ? [] : archiveLines(await readHostSources(), codename, release);
  if (lines.length > 0) return lines;
  throw missingRequirement('This host\'s apt sources have no entry of the Debian archive',
    'set debian_sources = ["deb <address of a Debian mirror> <release> main"] in [plugins.images]');
}

/** @throws missing_requirement naming the package or file that rootless builds lack here */
async function requireRootless(tools: ImageTools): Promise<void> {
  await tools.require('newuidmap', 'uidmap');
  const user = currentUser();
  const files = ['/etc/subuid', '/etc/subgid'];
  const tables = await Promise.all(files.map((file) => readFile(file, 'utf8').catch(() => '')));
  const lacking = files.filter((_, index) => !hasSubIds(tables[index] ?? '', user));
  if (lacking.length > 0) {
    throw missingRequirement(`${lacking.join(' and ')} ${lacking.length > 1 ? 'have' : 'has'} no range of at least 65536 ids for ${user[0]}`, subIdsHint(user));
  }
}

/** The one command that gives `user` both ranges. newuidmap(1) knows only users with a passwd entry. */
export function subIdsHint(user: readonly string[]): string {
  if (user.length === 1) return `uid ${user[0]} has no passwd entry, which newuidmap needs; an administrator can add one: useradd --uid ${user[0]} <name>`;
  return `an administrator can add it: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${user[0]}`;
}

/** Name and uid, as the tables of subuid(5) may have either; only the uid for a user without a passwd entry. */
export function currentUser(): string[] {
  const uid = String(process.getuid?.() ?? 0);
  try {
    return [userInfo().username, uid];
  } catch {
    // os.userInfo throws when the uid has no passwd entry.
    return [uid];
  }
}

/** Whether a table in subuid(5) format gives one of `owners` a range a whole system fits in. */
export function hasSubIds(table: string, owners: readonly string[]): boolean {
  return table.split('\n').some((line) => {
    const [owner = '', , count = '0'] = line.split(':');
    return owners.includes(owner) && Number(count) >= 65_536;
  });
}
