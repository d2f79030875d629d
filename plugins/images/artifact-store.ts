// A directory of immutable artifacts, one directory each, shared by the image and the kernel store. An artifact appears by
// one rename of a finished staging directory, so that whoever lists never sees a half-made one.
import { chmod, mkdir, open, readFile, readdir, rename } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { ambiguousRef, notFound, removeTree } from '../../core/plugin-api.ts';

/** What every artifact's `manifest.json` has; each store adds its own keys. */
export interface ArtifactManifest {
  /** Hexadecimal digest; also the directory's name. */
  readonly id: string;
  readonly name: string;
  /** RFC 3339. */
  readonly createdAt: string;
}
export interface Artifact<M extends ArtifactManifest> { readonly dir: string; readonly manifest: M }

export interface ArtifactStore<M extends ArtifactManifest> {
  readonly root: string;
  /** Newest first. A directory without a readable manifest is passed over. */
  list(): Promise<readonly Artifact<M>[]>;
  /** By exact id. */
  get(id: string): Promise<Artifact<M> | undefined>;
  /** By id, name (the newest of that name) or unique id prefix of at least 4 digits. @throws ambiguous_ref */
  find(ref: string): Promise<Artifact<M> | undefined>;
  /** A path for a new staging directory inside the store; makes nothing. */
  newStagingPath(): string;
  /** Every staging or trash directory there is now. */
  leftovers(): Promise<readonly string[]>;
  /**
   * Makes `dir`, a directory inside the store holding all files but the manifest, the artifact `manifest.id`. Contents reach the
   * disk before the rename. When that artifact exists already it stays and `dir` is removed.
   */
  publish(dir: string, manifest: M): Promise<Artifact<M>>;
  /** Removes an artifact; it disappears at once and completely. Safe to call again. */
  remove(id: string): Promise<void>;
}

const stagingPrefix = '.staging-';
const trashPrefix = '.trash-';
const idPattern = /^[0-9a-f]{16,64}$/;

/** Opens the store at `root`; the directory is made by the first publish. `parse` throws on a manifest that is not one. */
export function createArtifactStore<M extends ArtifactManifest>(options: {
  /** For errors: "image", "kernel". */
  readonly what: string; readonly root: string; readonly parse: (value: unknown) => M;
}): ArtifactStore<M> {
  const { root, what, parse } = options;
  const load = (id: string): Promise<Artifact<M> | undefined> => loadArtifact(join(root, id), parse);
  const list = async (): Promise<readonly Artifact<M>[]> => {
    const ids = (await entries(root)).filter((name) => idPattern.test(name));
    const all = (await Promise.all(ids.map(load))).filter((a) => a !== undefined);
    return all.toSorted((a, b) => b.manifest.createdAt.localeCompare(a.manifest.createdAt) || a.manifest.id.localeCompare(b.manifest.id));
  };
  return {
    root, list,
    get: (id) => (idPattern.test(id) ? load(id) : Promise.resolve(undefined)),
    async find(ref) {
      const all = await list();
      const exact = all.find((a) => a.manifest.id === ref) ?? all.find((a) => a.manifest.name === ref);
      if (exact || !/^[0-9a-f]{4,}$/.test(ref)) return exact;
      const byPrefix = all.filter((a) => a.manifest.id.startsWith(ref));
      if (byPrefix.length > 1) throw ambiguousRef(capitalised(what), ref, byPrefix.map((a) => a.manifest.id.slice(0, 12)));
      return byPrefix[0];
    },
    newStagingPath: () => join(root, `${stagingPrefix}${randomBytes(6).toString('hex')}`),
    async leftovers() {
      return (await entries(root)).filter((n) => n.startsWith(stagingPrefix) || n.startsWith(trashPrefix)).map((n) => join(root, n));
    },
    async publish(dir, manifest) {
      const target = join(root, manifest.id);
      const existing = await load(manifest.id);
      if (existing) {
        await removeTree(dir, { within: root });
        return existing;
      }
      await seal(dir, manifest);
      // A directory without a manifest can only be damage: rename would refuse a target that is not empty.
      await removeTree(target, { within: root });
      await rename(dir, target);
      await syncPath(root);
      return { dir: target, manifest };
    },
    async remove(id) {
      if (!idPattern.test(id)) throw notFound(what, id);
      const trash = join(root, `${trashPrefix}${randomBytes(6).toString('hex')}`);
      try {
        await rename(join(root, id), trash);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
        throw error;
      }
      await removeTree(trash, { within: root });
    },
  };
}

const capitalised = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

async function entries(root: string): Promise<string[]> {
  try {
    return await readdir(root);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

async function loadArtifact<M extends ArtifactManifest>(dir: string, parse: (value: unknown) => M): Promise<Artifact<M> | undefined> {
  try {
    return { dir, manifest: parse(JSON.parse(await readFile(join(dir, 'manifest.json'), 'utf8'))) };
  } catch {
    // Damaged or being removed: not an artifact, and the next pull of that name makes a new one.
    return undefined;
  }
}

/** VMMs of a root daemon run as other uids and read these files, hence the modes. */
async function seal(dir: string, manifest: ArtifactManifest): Promise<void> {
  const file = await open(join(dir, 'manifest.json'), 'w', 0o644);
  try {
    await file.writeFile(`${JSON.stringify(manifest, null, 2)}\n`);
  } finally {
    await file.close();
  }
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    await chmod(path, entry.isDirectory() ? 0o755 : 0o644);
    await syncPath(path);
  }
  await chmod(dir, 0o755);
  await syncPath(dir);
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes the store's own directory, passable for the uids that VMMs of a root daemon run as. */
export async function makeStoreDir(root: string): Promise<void> {
  await mkdir(root, { recursive: true, mode: 0o755 });
  await chmod(root, 0o755);
}
