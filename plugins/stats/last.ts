// Figures of VMs that have ended: in memory, and in a file of the VM's directory, so that they outlive the daemon. What the file holds is believed
// only when it has the right form and names this VM.
import { constants } from 'node:fs';
import { open, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Logger, Vm } from '../../core/plugin-api.ts';
import { guestFigures, hostFigures, networkFigures } from './schema.ts';
import type { Figures } from './watched-vm.ts';

const fileName = 'stats.json';
const maxBytes = 16 * 1024;
/** The last moment that a Date can be. */
const maxDateMs = 8.64e15;
/** In the order of use; beyond this the oldest go, and are read from their files again. */
const maxKept = 4096;

const fileSchema = z.strictObject({
  version: z.literal(1), vm: z.string(), atMs: z.number().nonnegative().max(maxDateMs),
  guestAtMs: z.number().nonnegative().max(maxDateMs).optional(),
  host: hostFigures.optional(), guest: guestFigures.optional(), network: networkFigures.optional(), uptimeSeconds: z.number().nonnegative().optional(),
});

export interface LastFigures {
  /** Keeps them in memory, and in the VM's directory when that is still there. Never rejects. */
  save(vm: Vm, figures: Figures): Promise<void>;
  /** `undefined`: none are known. */
  of(vm: Vm): Promise<Figures | undefined>;
  forget(vmId: string): void;
}

export function createLastFigures(log: Logger): LastFigures {
  const kept = new Map<string, Figures | undefined>();
  const writing = new Map<string, Promise<void>>();
  const keep = (id: string, figures: Figures | undefined): void => {
    kept.delete(id);
    kept.set(id, figures);
    const oldest = kept.keys().next().value;
    if (kept.size > maxKept && oldest !== undefined) kept.delete(oldest);
  };
  return {
    async save(vm, figures) {
      keep(vm.id, figures);
      // One after the other: both write to the same place first.
      const work = (writing.get(vm.id) ?? Promise.resolve()).then(() => write(vm, figures)).catch((error: unknown) => {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') log.warn({ vm: vm.name, err: error }, 'cannot keep the last figures of a VM');
      });
      writing.set(vm.id, work);
      await work;
      if (writing.get(vm.id) === work) writing.delete(vm.id);
    },
    async of(vm) {
      if (kept.has(vm.id)) return kept.get(vm.id);
      const figures = await read(vm);
      if (!kept.has(vm.id)) keep(vm.id, figures);
      return kept.get(vm.id);
    },
    forget: (id) => { kept.delete(id); },
  };
}

async function write(vm: Vm, figures: Figures): Promise<void> {
  const path = join(vm.dir, fileName);
  const draft = `${path}.new`;
  await rm(draft, { force: true });
  // The directory is not made: a VM that is being deleted has none.
  await writeFile(draft, JSON.stringify({ version: 1, vm: vm.id, ...figures }), { mode: 0o600, flag: 'wx' });
  await rename(draft, path);
}

async function read(vm: Vm): Promise<Figures | undefined> {
  try {
    const file = await open(join(vm.dir, fileName), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const stat = await file.stat();
      if (!stat.isFile() || stat.size > maxBytes) return undefined;
      const { version: _, vm: id, ...figures } = fileSchema.parse(JSON.parse(await file.readFile('utf8')));
      return id === vm.id ? withoutUndefined(figures) : undefined;
    } finally {
      await file.close();
    }
  } catch {
    return undefined; // none, or not one of ours: figures of the past are no reason to fail
  }
}

/** What zod leaves optional is left out, as everywhere else. */
function withoutUndefined(figures: object): Figures {
  return JSON.parse(JSON.stringify(figures)) as Figures;
}
