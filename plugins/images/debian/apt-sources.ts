// Reads the host's apt sources, one-line and deb822 style (sources.list(5)), and picks those of the Debian archive.
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** One `deb` source: one URI and one suite. */
export interface AptSource {
  readonly uri: string;
  readonly suite: string;
  readonly components: readonly string[];
  /** Path of a keyring, or undefined when the source names none. */
  readonly signedBy?: string;
}

/** Parses one-line style. Lines that are no `deb` lines are passed over, as apt's own tools do with comments. */
export function parseSourcesList(text: string): AptSource[] {
  return text.split('\n').flatMap((line) => {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)((?:\s+[^\s#]+)*)/.exec(line);
    if (!match) return [];
    const [, options = '', uri = '', suite = '', components = ''] = match;
    const signedBy = /(?:^|\s)signed-by=(\S+)/i.exec(options)?.[1];
    return [source(uri, suite, words(components), signedBy)];
  });
}

/** Parses deb822 style: stanzas of `Field: value`, continued by indented lines. */
export function parseDeb822(text: string): AptSource[] {
  return stanzas(text).flatMap((fields) => {
    if (!words(fields.get('types')).includes('deb') || /^(no|false|0|off|disable)$/i.test(fields.get('enabled') ?? '')) return [];
    const signedBy = fields.get('signed-by');
    return words(fields.get('uris')).flatMap((uri) =>
      words(fields.get('suites')).map((suite) => source(uri, suite, words(fields.get('components')), signedBy)));
  });
}

function source(uri: string, suite: string, components: readonly string[], signedBy: string | undefined): AptSource {
  return signedBy === undefined || signedBy === '' ? { uri, suite, components } : { uri, suite, components, signedBy };
}

const words = (text: string | undefined): string[] => (text ?? '').split(/[\s,]+/).filter((word) => word !== '');

function stanzas(text: string): Map<string, string>[] {
  const result: Map<string, string>[] = [];
  let current: Map<string, string> | undefined;
  let field = '';
  for (const line of text.split('\n')) {
    if (line.startsWith('#')) continue;
    if (line.trim() === '') {
      current = undefined;
      continue;
    }
    const start = /^([A-Za-z0-9-]+)\s*:\s*(.*)$/.exec(line);
    if (start) {
      if (!current) result.push(current = new Map());
      field = (start[1] ?? '').toLowerCase();
      current.set(field, (start[2] ?? '').trim());
    } else if (current) {
      current.set(field, `${current.get(field) ?? ''} ${line.trim()}`.trim());
    }
  }
  return result;
}

/**
 * Whether a source is the Debian archive for this release, and not another vendor's: the suite is the release itself, its
 * updates or its security suite; it has the component main; and it is signed by the archive's keyring or, when no key is
 * named, its path is the archive's (`/debian`, `/debian-security`).
 */
export function isDebianArchive(candidate: AptSource, codename: string): boolean {
  const suites = [codename, `${codename}-updates`, `${codename}-security`, `${codename}/updates`];
  if (!suites.includes(candidate.suite) || !candidate.components.includes('main')) return false;
  if (/^cdrom:/i.test(candidate.uri)) return false;
  if (candidate.signedBy !== undefined) return /(^|\/)debian-archive-[^/]*\.(gpg|asc|pgp)$/.test(candidate.signedBy);
  return /\/debian(-security)?(\/|$)/.test(candidate.uri);
}

/** One-line entries for mmdebstrap: component main only, for `release` where that differs from the host's own. */
export function archiveLines(sources: readonly AptSource[], codename: string, release: string): string[] {
  const lines = sources.filter((s) => isDebianArchive(s, codename)).map((s) => {
    const suite = s.suite === `${codename}/updates` ? s.suite : s.suite.replace(codename, release);
    return `deb ${s.signedBy === undefined ? '' : `[signed-by=${s.signedBy}] `}${s.uri} ${suite} main`;
  });
  return [...new Set(lines)];
}

/** Every enabled source of the host, in apt's order. Files apt ignores (other endings) are ignored here too. */
export async function readHostSources(etcApt = '/etc/apt'): Promise<AptSource[]> {
  const dir = join(etcApt, 'sources.list.d');
  const names = (await readdir(dir).catch(missingIsEmpty)).toSorted();
  const parts = await Promise.all(names.map(async (name): Promise<AptSource[]> => {
    if (!/^[A-Za-z0-9_.-]+\.(list|sources)$/.test(name)) return [];
    const text = await readFile(join(dir, name), 'utf8');
    return name.endsWith('.list') ? parseSourcesList(text) : parseDeb822(text);
  }));
  const main = await readFile(join(etcApt, 'sources.list'), 'utf8').catch(missingIsEmpty);
  return [...(typeof main === 'string' ? parseSourcesList(main) : []), ...parts.flat()];
}

function missingIsEmpty(error: NodeJS.ErrnoException): [] {
  if (error.code !== 'ENOENT') throw error;
  return [];
}

/** VERSION_CODENAME of os-release(5). */
export async function hostCodename(file = '/etc/os-release'): Promise<string | undefined> {
  const text = await readFile(file, 'utf8').catch(missingIsEmpty);
  return typeof text === 'string' ? /^VERSION_CODENAME="?([a-z0-9]+)"?$/m.exec(text)?.[1] : undefined;
}
