// Doctor checks of the images plugin.
import { access, constants, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CheckResult, DoctorCheck } from '../../core/plugin-api.ts';
import { archiveLines, hostCodename, readHostSources } from './debian/apt-sources.ts';
import { currentUser, hasSubIds, subIdsHint } from './debian/source.ts';
import type { ImagesConfig } from './schema.ts';

const directories = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

async function isInstalled(program: string): Promise<boolean> {
  const tries = directories.map((dir) => access(join(dir, program), constants.X_OK).then(() => true, () => false));
  return (await Promise.all(tries)).includes(true);
}

async function checkTools(): Promise<CheckResult> {
  const wanted = new Map([['mmdebstrap', 'mmdebstrap'], ['mke2fs', 'e2fsprogs'], ['e2fsck', 'e2fsprogs'], ['tar', 'tar'], ['unshare', 'util-linux']]);
  if (process.getuid?.() !== 0) wanted.set('newuidmap', 'uidmap');
  const missing: [string, string][] = [];
  for (const pair of wanted) if (!await isInstalled(pair[0])) missing.push(pair);
  if (missing.length === 0) return { level: 'pass', detail: [[...wanted.keys()].join(', ')] };
  return {
    level: 'warn', detail: missing.map(([program]) => `${program} is not installed`),
    hint: `apt-get install ${[...new Set(missing.map(([, name]) => name))].join(' ')}`,
  };
}

async function checkSources(config: ImagesConfig): Promise<CheckResult> {
  if (config.debian_sources.length > 0) return { level: 'pass', detail: [`${config.debian_sources.length} entries from the configuration`] };
  const codename = await hostCodename();
  const lines = codename === undefined ? [] : archiveLines(await readHostSources(), codename, codename);
  if (lines.length > 0) return { level: 'pass', detail: [`${lines.length} entries of the host, ${codename}`] };
  return {
    level: 'warn', detail: ['the host\'s apt sources have no entry of the Debian archive: the Debian image cannot be built'],
    hint: 'set debian_sources in [plugins.images]',
  };
}

async function checkRootless(): Promise<CheckResult> {
  if (process.getuid?.() === 0) return { level: 'pass', detail: ['not needed as root'] };
  const user = currentUser();
  const tables = await Promise.all(['/etc/subuid', '/etc/subgid'].map((file) => readFile(file, 'utf8').catch(() => '')));
  if (tables.every((table) => hasSubIds(table, user))) return { level: 'pass', detail: ['/etc/subuid and /etc/subgid have a range'] };
  return {
    level: 'warn', detail: [`no range of 65536 subordinate ids for ${user[0]}: images cannot be built without root`],
    hint: subIdsHint(user),
  };
}

export const imageChecks: readonly DoctorCheck<ImagesConfig>[] = [
  { name: 'image tools', run: checkTools },
  { name: 'debian sources', run: ({ config }) => checkSources(config) },
  { name: 'rootless image builds', run: checkRootless },
];
