// The files of a workspace as they were sent, and their encoding: NUL-terminated records, so that any name fits.
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { WorkFile } from './host/types.ts';

/** `mtimeNs`, `size`, `mode`: what the guest has since. `ctimeNs`, `ino`: by which the host's own changes are seen. */
export type ManifestEntry = Omit<WorkFile, 'path'>;
/** By path, a character a byte. */
export type Manifest = ReadonlyMap<string, ManifestEntry>;

/** A hundred thousand files take a tenth of a second: others get their turn in between. */
const perTurn = 5000;

export async function encodeManifest(files: Manifest): Promise<Buffer> {
  const parts: Buffer[] = [];
  let lines: string[] = [];
  const flush = (): void => {
    parts.push(Buffer.from(lines.join(''), 'latin1'));
    lines = [];
  };
  for (const [path, entry] of files) {
    lines.push(`${entry.kind} ${entry.mode.toString(8)} ${entry.size} ${entry.mtimeNs} ${entry.ctimeNs} ${entry.ino} ${path}\0`);
    if (lines.length === perTurn) {
      flush();
      await nextTurn();
    }
  }
  flush();
  return Buffer.concat(parts);
}

/** @throws Error when it is not what `encodeManifest` wrote */
export async function decodeManifest(bytes: Buffer): Promise<Manifest> {
  const files = new Map<string, ManifestEntry>();
  for (let at = 0, count = 0; at < bytes.length; count += 1) {
    const end = bytes.indexOf(0, at);
    if (end === -1) throw new Error('The list of files of a workspace is cut short');
    const match = /^(file|link) ([0-7]+) (\d+) (-?\d+) (-?\d+) (\d+) ([^]+)$/.exec(bytes.toString('latin1', at, end));
    if (match === null) throw new Error('The list of files of a workspace is damaged');
    const [, kind, mode, size, mtime, ctime, ino, path] = match as unknown as [string, 'file' | 'link', string, string, string, string, string, string];
    files.set(path, { kind, mode: Number.parseInt(mode, 8), size: Number(size), mtimeNs: BigInt(mtime), ctimeNs: BigInt(ctime), ino: BigInt(ino) });
    at = end + 1;
    if (count % perTurn === perTurn - 1) await nextTurn();
  }
  return files;
}

/** Whether the host's file is still the one that was sent: git's own rule for its index, and the inode. */
export const isSameOnHost = (a: ManifestEntry, b: ManifestEntry): boolean =>
  a.kind === b.kind && a.mode === b.mode && a.size === b.size && a.mtimeNs === b.mtimeNs && a.ctimeNs === b.ctimeNs && a.ino === b.ino;
