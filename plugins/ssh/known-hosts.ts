// A known_hosts of our own: one row for each VM's host key, from the keys themselves. The user's own file is never touched.
import { join } from 'node:path';
import { mkdir } from 'node:fs/promises';
import type { Logger, Vms } from '../../core/plugin-api.ts';
import { ensureHostKey, readHostKey, writeWhenDifferent } from './keys.ts';
import { parsePublicKey } from './openssh-key.ts';

export interface KnownHosts {
  /** Absolute. */
  readonly file: string;
  /** Writes the file as the VMs are now; resolves when what was true at the call is in it. @throws operation_failed when it cannot be written */
  refresh(): Promise<void>;
  /** Follows the VMs from now on. Returns an unregister function that waits for a write under way. */
  follow(): () => Promise<void>;
}
export interface KnownHostsParts {
  readonly dir: string;
  readonly vms: Pick<Vms, 'list' | 'isRunning' | 'onChange'>;
  readonly log: Logger;
}

const header = '# The host keys of the VMs, written by banger whenever one comes or goes; changes to it are lost.';

export function createKnownHosts(parts: KnownHostsParts): KnownHosts {
  const file = join(parts.dir, 'known_hosts');
  let underway: Promise<void> = Promise.resolve();
  let next: Promise<void> | undefined;

  // A call that comes while one is under way needs another, and several such calls one between them.
  const refresh = (): Promise<void> => {
    next ??= underway.catch(() => undefined).then(() => {
      underway = next!;
      next = undefined;
      return write(parts, file);
    });
    return next;
  };
  return {
    file, refresh,
    follow() {
      const stop = parts.vms.onChange(() => {
        refresh().catch((error: unknown) => parts.log.warn({ err: error }, 'the file of known host keys is not up to date'));
      });
      return async () => {
        stop();
        await (next ?? underway).catch(() => undefined); // whoever asked has been told
      };
    },
  };
}

async function write(parts: KnownHostsParts, file: string): Promise<void> {
  const rows = await Promise.all(parts.vms.list().map((vm) => rowOf(parts, vm)));
  await mkdir(parts.dir, { recursive: true, mode: 0o700 });
  await writeWhenDifferent(file, [header, ...rows.filter((row) => row !== undefined).toSorted(), ''].join('\n'), 0o600);
}

/** A running VM of an older version gets its key now; one that never ran has none yet. One key that cannot be read costs the others nothing. */
async function rowOf({ vms, log }: KnownHostsParts, vm: ReturnType<Vms['list']>[number]): Promise<string | undefined> {
  try {
    const line = vms.isRunning(vm.id) ? (await ensureHostKey(vm)).publicKey : await readHostKey(vm);
    const key = line === undefined ? undefined : parsePublicKey(line);
    return key && `${vm.name}.vm,${vm.name} ${key.type} ${key.base64}`;
  } catch (error) {
    log.warn({ err: error, vm: vm.name }, 'the host key of a VM cannot be read');
    return undefined;
  }
}
