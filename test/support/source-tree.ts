// Reads the repository's own source: what files there are and what each imports.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const repoRoot = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const rooms = ['core', 'plugins', 'cli', 'bin', 'native', 'guest', 'test', 'smoke', 'bench', 'scripts'];

export interface SourceFile {
  /** Relative to the repository, with forward slashes. */
  readonly path: string;
  readonly text: string;
  readonly lines: number;
  readonly imports: readonly SourceImport[];
}
export interface SourceImport {
  /** Repository path for relative imports, else the package or `node:` specifier as written. */
  readonly target: string;
  readonly isType: boolean;
}

const importPattern = /(?:^|\n)\s*(?:import|export)\s+(type\s+)?(?:[^'"`;]*?\sfrom\s+)?['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]\s*\)/g;

function readImports(path: string, text: string): SourceImport[] {
  const found: SourceImport[] = [];
  for (const match of text.matchAll(importPattern)) {
    const specifier = match[2] ?? match[3];
    if (specifier === undefined) continue;
    const target = specifier.startsWith('.') ? relative(repoRoot, resolve(repoRoot, dirname(path), specifier)) : specifier;
    found.push({ target, isType: match[1] !== undefined });
  }
  return found;
}

/** Every source file with one of the given endings. */
export function sourceFiles(endings: readonly string[] = ['.ts']): SourceFile[] {
  const files: SourceFile[] = [];
  for (const room of rooms) {
    let entries;
    try {
      entries = readdirSync(join(repoRoot, room), { recursive: true, withFileTypes: true });
    } catch {
      continue; // a room appears with the issue that fills it
    }
    for (const entry of entries) {
      if (!entry.isFile() || !endings.some((ending) => entry.name.endsWith(ending))) continue;
      const path = relative(repoRoot, join(entry.parentPath, entry.name));
      const text = readFileSync(join(repoRoot, path), 'utf8');
      files.push({ path, text, lines: text.split('\n').length - (text.endsWith('\n') ? 1 : 0), imports: readImports(path, text) });
    }
  }
  return files;
}
