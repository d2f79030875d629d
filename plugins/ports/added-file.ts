// The ports that were added to a running VM, in its directory: a new daemon opens them again.
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { isIPv4 } from 'node:net';
import { join } from 'node:path';
import { z } from 'zod';
import type { Vm } from '../../core/plugin-api.ts';

const port = z.int().min(1).max(65_535);
const addedFile = z.strictObject({
  version: z.literal(1),
  added: z.array(z.strictObject({
    protocol: z.enum(['tcp', 'udp']), address: z.string().refine((text) => isIPv4(text)), hostPort: port, guestPort: port, guestHost: z.string().min(1).max(255),
  })).max(256),
});
export type AddedPort = z.output<typeof addedFile>['added'][number];

export const addedPath = (vm: Pick<Vm, 'dir'>): string => join(vm.dir, 'ports.json');

/** Nothing where there is no file. @throws Error for one that cannot be read or is not ours */
export async function readAdded(vm: Pick<Vm, 'dir'>): Promise<readonly AddedPort[]> {
  let text: string;
  try {
    text = await readFile(addedPath(vm), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return addedFile.parse(JSON.parse(text)).added;
}

/** Replaces the file as a whole; calls for one VM must not overlap. */
export async function writeAdded(vm: Pick<Vm, 'dir'>, added: readonly AddedPort[]): Promise<void> {
  const draft = `${addedPath(vm)}.part`;
  await writeFile(draft, JSON.stringify({ version: 1, added }), { mode: 0o600 });
  await rename(draft, addedPath(vm));
}

/** Removing what is not there is no error. */
export async function removeAdded(vm: Pick<Vm, 'dir'>): Promise<void> {
  await rm(`${addedPath(vm)}.part`, { force: true });
  await rm(addedPath(vm), { force: true });
}
