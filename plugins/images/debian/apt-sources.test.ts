import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { archiveLines, hostCodename, isDebianArchive, parseDeb822, parseSourcesList, readHostSources } from './apt-sources.ts';
import type { AptSource } from './apt-sources.ts';

const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';

describe('one-line style', () => {
  const table: [string, AptSource[]][] = [
    ['deb http://mirror.test/debian bookworm main', [{ uri: 'http://mirror.test/debian', suite: 'bookworm', components: ['main'] }]],
    ['  deb [arch=amd64 signed-by=/k.gpg] http://mirror.test/debian bookworm main contrib # note',
      [{ uri: 'http://mirror.test/debian', suite: 'bookworm', components: ['main', 'contrib'], signedBy: '/k.gpg' }]],
    ['# deb http://mirror.test/debian bookworm main', []],
    ['deb-src http://mirror.test/debian bookworm main', []],
    ['', []],
    ['deb http://mirror.test/flat ./', [{ uri: 'http://mirror.test/flat', suite: './', components: [] }]],
  ];
  test.each(table)('%s', (line, expected) => {
    expect(parseSourcesList(line)).toEqual(expected);
  });
});

describe('deb822 style', () => {
  test('gives one source for each address and suite', () => {
    const text = `# comment\nTypes: deb deb-src\n# inner\nURIs: http://a.test/debian http://b.test/debian\nSuites: bookworm\n bookworm-updates\nComponents: main\nSigned-By: ${keyring}\n`;
    expect(parseDeb822(text).map((s) => `${s.uri} ${s.suite} ${s.signedBy}`)).toEqual([
      `http://a.test/debian bookworm ${keyring}`, `http://a.test/debian bookworm-updates ${keyring}`,
      `http://b.test/debian bookworm ${keyring}`, `http://b.test/debian bookworm-updates ${keyring}`,
    ]);
  });
  test('passes over source-only and disabled stanzas', () => {
    expect(parseDeb822('Types: deb-src\nURIs: http://a.test/debian\nSuites: bookworm\n')).toEqual([]);
    expect(parseDeb822('Enabled: no\nTypes: deb\nURIs: http://a.test/debian\nSuites: bookworm\n')).toEqual([]);
  });
  test('separates stanzas by blank lines and ignores the case of field names', () => {
    const text = 'types: deb\nuris: http://a.test/debian\nsuites: bookworm\ncomponents: main\n\nTypes: deb\nURIs: http://b.test/x\nSuites: y\n';
    expect(parseDeb822(text).map((s) => s.uri)).toEqual(['http://a.test/debian', 'http://b.test/x']);
  });
});

describe('choice of the Debian archive', () => {
  const base: AptSource = { uri: 'http://mirror.test/debian', suite: 'bookworm', components: ['main'], signedBy: keyring };
  const unsigned = (uri: string): AptSource => ({ uri, suite: 'bookworm', components: ['main'] });
  const table: [string, AptSource, boolean][] = [
    ['the release', base, true],
    ['its updates', { ...base, suite: 'bookworm-updates' }, true],
    ['its security suite', { ...base, uri: 'http://mirror.test/debian-security', suite: 'bookworm-security' }, true],
    ['no keyring named, archive path', unsigned('http://mirror.test/debian/'), true],
    ['a snapshot of the archive', unsigned('http://snapshot.test/archive/debian/20260101T000000Z'), true],
    ['backports', { ...base, suite: 'bookworm-backports' }, false],
    ['another release', { ...base, suite: 'trixie' }, false],
    ['a vendor with the same suite and its own keyring', { ...base, uri: 'http://vendor.test', signedBy: '/usr/share/keyrings/vendor.gpg' }, false],
    ['a vendor with the same suite and component stable', { ...base, components: ['stable'] }, false],
    ['a vendor with a suite of its own', { ...base, suite: 'nodistro' }, false],
    ['no keyring named, another path', unsigned('http://vendor.test/node_20.x'), false],
    ['a disc', unsigned('cdrom:[Debian]/debian'), false],
  ];
  test.each(table)('%s', (_name, source, expected) => {
    expect(isDebianArchive(source, 'bookworm')).toBe(expected);
  });

  test('hands on component main only, once, for the wanted release', () => {
    const sources = [{ ...base, components: ['main', 'non-free'] }, base, { ...base, suite: 'bookworm-updates' }];
    expect(archiveLines(sources, 'bookworm', 'trixie')).toEqual([
      `deb [signed-by=${keyring}] http://mirror.test/debian trixie main`,
      `deb [signed-by=${keyring}] http://mirror.test/debian trixie-updates main`,
    ]);
  });
});

test('reads the files apt reads and no others', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'banger-apt-'));
  try {
    await mkdir(join(dir, 'sources.list.d'));
    await writeFile(join(dir, 'sources.list'), 'deb http://one.test/debian bookworm main\n');
    await writeFile(join(dir, 'sources.list.d/b.list'), 'deb http://two.test/debian bookworm main\n');
    await writeFile(join(dir, 'sources.list.d/a.sources'), 'Types: deb\nURIs: http://three.test/debian\nSuites: bookworm\nComponents: main\n');
    await writeFile(join(dir, 'sources.list.d/c.list.disabled'), 'deb http://four.test/debian bookworm main\n');
    expect((await readHostSources(dir)).map((s) => s.uri)).toEqual(['http://one.test/debian', 'http://three.test/debian', 'http://two.test/debian']);
    expect(await readHostSources(join(dir, 'missing'))).toEqual([]);
    await writeFile(join(dir, 'os-release'), 'ID=debian\nVERSION_CODENAME=bookworm\n');
    expect(await hostCodename(join(dir, 'os-release'))).toBe('bookworm');
    expect(await hostCodename(join(dir, 'none'))).toBeUndefined();
  } finally {
    await rm(dir, { recursive: true });
  }
});
