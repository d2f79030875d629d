// Small files of a staged checkout.
import { mkdir, writeFile } from 'node:fs/promises';
import { onDisk } from './bytes.ts';

export interface TreeWriter {
  /** Writes a file below the root, with its directories. Path and content are latin1. */
  write(path: string, content: string): Promise<void>;
  /** Makes a directory below the root. */
  dir(path: string): Promise<void>;
}

export function createTreeWriter(root: string): TreeWriter {
  const made = new Set<string>();
  return {
    async dir(path) {
      await mkdir(onDisk(root, path), { recursive: true });
    },
    async write(path, content) {
      const slash = path.lastIndexOf('/');
      const dir = slash < 0 ? '' : path.slice(0, slash);
      if (!made.has(dir)) await mkdir(onDisk(root, dir), { recursive: true });
      made.add(dir);
      await writeFile(onDisk(root, path), Buffer.from(content, 'latin1'));
    },
  };
}
