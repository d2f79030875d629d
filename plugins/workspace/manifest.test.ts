import { expect, test } from 'vitest';
import { changesSince, isAsSent } from './changes.ts';
import { decodeManifest, encodeManifest } from './manifest.ts';
import type { ManifestEntry } from './manifest.ts';

const entry = (more: Partial<ManifestEntry> = {}): ManifestEntry => ({ kind: 'file', mode: 0o644, size: 3, mtimeNs: 1_700_000_000_123_456_789n, ctimeNs: 5n, ino: 7n, ...more });

test('a list of files survives writing and reading, whatever the names are', async () => {
  const files = new Map([
    ['a', entry()], ['dir/b c', entry({ kind: 'link', mode: 0o777 })], ['new\nline "and" \xff\xfe', entry({ mtimeNs: -1n, size: 9_007_199_254_740_991 })],
    ...Array.from({ length: 12_000 }, (_, n) => [`many/${n}`, entry({ ino: BigInt(n) })] as const),
  ]);
  expect(await decodeManifest(await encodeManifest(files))).toEqual(files);
  expect((await encodeManifest(new Map())).length).toBe(0);
});

test('a list that is cut short or damaged is no list', async () => {
  const bytes = await encodeManifest(new Map([['a', entry()], ['b', entry()]]));
  await expect(decodeManifest(bytes.subarray(0, -1))).rejects.toThrow('cut short');
  await expect(decodeManifest(Buffer.from('file 644 x 0 0 0 a\0'))).rejects.toThrow('damaged');
});

test('what changed on the host is sent, what is gone is removed', () => {
  const before = new Map([['same', entry()], ['touched', entry()], ['gone', entry()], ['kind', entry()]]);
  const now = new Map([['same', entry()], ['touched', entry({ ctimeNs: 6n })], ['new', entry()], ['kind', entry({ kind: 'link' })]]);
  expect(changesSince(before, now)).toEqual({ send: ['touched', 'new', 'kind'], remove: ['gone'] });
});

test('a guest file is as it was sent when kind, size, time and its execute bit are', () => {
  expect(isAsSent(entry(), entry({ ctimeNs: 9n, ino: 9n, mode: 0o664 }))).toBe(true);
  for (const other of [{ kind: 'link' as const }, { size: 4 }, { mtimeNs: 1n }, { mode: 0o744 }]) expect(isAsSent(entry(other), entry())).toBe(false);
  expect(isAsSent({ ...entry(), kind: 'none' }, undefined)).toBe(true);
  expect(isAsSent(entry(), undefined)).toBe(false);
});
