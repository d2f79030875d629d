import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createArtifactStore } from './artifact-store.ts';
import type { ArtifactManifest, ArtifactStore } from './artifact-store.ts';

let root: string;
let store: ArtifactStore<ArtifactManifest>;
const parse = (value: unknown): ArtifactManifest => {
  const manifest = value as ArtifactManifest;
  if (typeof manifest.id !== 'string' || typeof manifest.name !== 'string') throw new Error('not a manifest');
  return manifest;
};
const idOf = (digit: string): string => digit.repeat(64);
const manifest = (digit: string, name: string, createdAt = '2026-01-01T00:00:00Z'): ArtifactManifest => ({ id: idOf(digit), name, createdAt });

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'banger-store-'));
  store = createArtifactStore({ what: 'image', root, parse });
});
afterEach(() => rm(root, { recursive: true }));

async function staged(content: string): Promise<string> {
  const dir = store.newStagingPath();
  await mkdir(dir, { mode: 0o700 });
  await writeFile(join(dir, 'data'), content, { mode: 0o600 });
  return dir;
}

test('lists nothing while a staging directory is being filled, and lists it as a leftover', async () => {
  const dir = await staged('x');
  expect(await store.list()).toEqual([]);
  expect(await store.leftovers()).toEqual([dir]);
});

test('publishes by rename, with modes other uids can read', async () => {
  const dir = await staged('x');
  const artifact = await store.publish(dir, manifest('a', 'one'));
  expect(existsSync(dir)).toBe(false);
  expect(artifact.dir).toBe(join(root, idOf('a')));
  expect((await stat(artifact.dir)).mode & 0o777).toBe(0o755);
  expect((await stat(join(artifact.dir, 'data'))).mode & 0o777).toBe(0o644);
  expect(await store.get(idOf('a'))).toEqual(artifact);
});

test('keeps the first of two publishes of the same content and removes the second\'s staging', async () => {
  const first = await store.publish(await staged('x'), manifest('a', 'one', '2026-01-01T00:00:00Z'));
  const second = await staged('x');
  expect(await store.publish(second, manifest('a', 'one', '2026-02-02T00:00:00Z'))).toEqual(first);
  expect(existsSync(second)).toBe(false);
  expect(await store.list()).toHaveLength(1);
});

test('publishes over a damaged directory of the same id', async () => {
  await mkdir(join(root, idOf('a')));
  await writeFile(join(root, idOf('a'), 'half'), '');
  expect(await store.get(idOf('a'))).toBeUndefined();
  await store.publish(await staged('x'), manifest('a', 'one'));
  expect((await readdir(join(root, idOf('a')))).toSorted()).toEqual(['data', 'manifest.json']);
});

test('finds by id, name and unique prefix, the newest of a name first', async () => {
  await store.publish(await staged('x'), manifest('a', 'debian', '2026-01-01T00:00:00Z'));
  await store.publish(await staged('y'), manifest('b', 'debian', '2026-02-01T00:00:00Z'));
  await store.publish(await staged('z'), { ...manifest('b', 'other'), id: `bbbb${'c'.repeat(60)}` });
  expect((await store.find('debian'))?.manifest.id).toBe(idOf('b'));
  expect((await store.find(idOf('a')))?.manifest.id).toBe(idOf('a'));
  expect((await store.find('aaaa'))?.manifest.id).toBe(idOf('a'));
  await expect(store.find('bbbb')).rejects.toMatchObject({ code: 'ambiguous_ref' });
  expect(await store.find('nothing')).toBeUndefined();
});

test('removes completely, twice without complaint, and never outside the store', async () => {
  await store.publish(await staged('x'), manifest('a', 'one'));
  await store.remove(idOf('a'));
  await store.remove(idOf('a'));
  expect(await readdir(root)).toEqual([]);
  await expect(store.remove('../etc')).rejects.toMatchObject({ code: 'not_found' });
});
