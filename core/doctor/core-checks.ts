// What core itself needs of the host, and what it is set to.
import { randomUUID } from 'node:crypto';
import { readFile, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config, ConfigValue } from '../config/load.ts';
import { sanitize } from '../log.ts';
import type { Paths } from '../paths.ts';
import type { CheckResult } from '../plugin-api.ts';
import type { Store } from '../store/store.ts';
import { availableMemoryMiB } from '../vm/preflight.ts';
import type { Check } from './check.ts';

export interface CoreCheckOptions {
  readonly paths: Paths;
  readonly config: Pick<Config, 'file' | 'exists' | 'core'>;
  /** With the plugins' sections: `PluginHost.configValues`. */
  readonly configValues: ReadonlyMap<string, ConfigValue>;
  readonly store: Pick<Store, 'vms' | 'ledger'>;
  /** Log file of the daemon; absent when it logs to standard error. */
  readonly logFile?: string;
}

const oldestNode = 24;
const failDiskMiB = 1024;
const warnDiskMiB = 5 * 1024;
/** Less than this, and not even the smallest guest starts. */
const failMemoryMiB = 256;

export function createCoreChecks(options: CoreCheckOptions): readonly Check[] {
  const { paths, config } = options;
  const check = (name: string, run: Check['run']): Check => ({ name, plugin: 'core', run });
  return [
    check('node', () => nodeFinding(process.versions.node)),
    check('state directory', () => stateDirFinding(paths)),
    check('store', () => storeFinding(options.store, paths.database)),
    check('disk space', async () => {
      const disk = await statfs(paths.stateDir);
      return diskFinding(toMiB(disk.bavail * disk.bsize), paths.stateDir);
    }),
    check('memory', async () => memoryFinding(availableMemoryMiB(await readFile('/proc/meminfo', 'utf8')), config.core.vmDefaults.memoryMiB)),
    check('configuration', () => configFinding(config, options.configValues)),
    check('log', () => logFinding(options.logFile)),
  ];
}

const toMiB = (bytes: number): number => Math.floor(bytes / 1024 ** 2);

export function nodeFinding(version: string): CheckResult {
  if (Number.parseInt(version, 10) >= oldestNode) return { level: 'pass', detail: [`Node ${version}`] };
  return { level: 'fail', detail: [`Node ${version} is too old: ${oldestNode} or newer is needed`], hint: 'start the daemon with bin/bangerd, which finds a new enough Node' };
}

/** Shows by writing that we may write: modes alone do not tell of read-only file systems and quotas. */
async function stateDirFinding(paths: Paths): Promise<CheckResult> {
  const info = await stat(paths.stateDir);
  const probe = join(paths.stateDir, `.probe-${randomUUID()}`);
  try {
    await writeFile(probe, 'probe', { mode: 0o600, flag: 'wx' });
  } finally {
    await rm(probe, { force: true });
  }
  const mode = (info.mode & 0o777).toString(8).padStart(4, '0');
  const detail = [`${paths.stateDir} is writable, mode ${mode}`];
  if (info.uid !== paths.uid) return { level: 'fail', detail: [...detail, `belongs to uid ${info.uid}, not to ours, ${paths.uid}`], hint: `chown it to uid ${paths.uid}` };
  if ((info.mode & 0o022) !== 0) return { level: 'fail', detail: [...detail, 'others may write to it'], hint: `chmod go-w ${paths.stateDir}` };
  return { level: 'pass', detail };
}

function storeFinding(store: CoreCheckOptions['store'], file: string): CheckResult {
  const detail = [file, `${store.vms.names().length} VMs, ${store.ledger.count()} ledger rows`];
  const failed = store.ledger.byState('undo_failed');
  if (failed.length === 0) return { level: 'pass', detail };
  const lines = failed.map((row) => {
    const [kind = '', id = ''] = row.owner.split(':');
    const owner = kind === 'vm' ? `VM ${store.vms.get(id)?.name ?? id}` : `${kind} ${id}`;
    return `undo of ${row.step} of ${owner} failed: ${row.error ?? 'no reason kept'}`;
  });
  return { level: 'fail', detail: [...detail, ...lines], hint: 'banger reclaim tries again' };
}

export function diskFinding(freeMiB: number, dir: string): CheckResult {
  const detail = [`${freeMiB} MiB free below ${dir}`];
  if (freeMiB < failDiskMiB) return { level: 'fail', detail, hint: `free some space: VMs need at least ${failDiskMiB} MiB` };
  return freeMiB < warnDiskMiB ? { level: 'warn', detail, hint: 'an image build may need more' } : { level: 'pass', detail };
}

export function memoryFinding(freeMiB: number | undefined, defaultMiB: number): CheckResult {
  if (freeMiB === undefined) return { level: 'warn', detail: ['the kernel does not say how much memory is available'] };
  const detail = [`${freeMiB} MiB available, a VM gets ${defaultMiB} MiB unless told otherwise`];
  if (freeMiB < failMemoryMiB) return { level: 'fail', detail, hint: 'stop other programs or VMs' };
  return freeMiB < defaultMiB ? { level: 'warn', detail, hint: 'give VMs less: banger vm run --memory, or vm_defaults.memory_mib' } : { level: 'pass', detail };
}

/** Values under a secret's key are not shown. */
export function configFinding(config: CoreCheckOptions['config'], values: ReadonlyMap<string, ConfigValue>): CheckResult {
  const lines = [...values].map(([key, { value, source }]) => {
    const [shown] = Object.values(sanitize({ [key.split('.').at(-1) ?? key]: value }) as Record<string, unknown>);
    return `${key} = ${JSON.stringify(shown)} (${source})`;
  });
  return { level: 'pass', detail: [`${config.file}${config.exists ? '' : ' (not there, so all is default)'}`, ...lines] };
}

async function logFinding(file: string | undefined): Promise<CheckResult> {
  if (file === undefined) return { level: 'pass', detail: ['standard error'] };
  const info = await stat(file);
  return { level: 'pass', detail: [`${file}, ${Math.ceil(info.size / 1024)} KiB`] };
}
