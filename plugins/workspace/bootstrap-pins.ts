// The versions of Go, Node, Python and Rust that a repository asks for, read from the files in which each language keeps them.

export type ToolName = 'go' | 'node' | 'python' | 'rust';
/** `version` is what mise takes after the `@`; `from` the file that says so. */
export interface Tool { readonly name: ToolName; readonly version: string; readonly from: string }

/** A version as mise has them: no blank, no quote, nothing a shell sees anything in. Unknown words of a repository are not passed on. */
const versionPattern = /^(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._+/-]{0,63}$/;
export const isVersion = (text: string): boolean => versionPattern.test(text);

const lines = (text: string): string[] => text.split(/\r\n|\r|\n/).map((line) => line.replace(/#.*/, '').trim()).filter((line) => line !== '');
const firstWord = (text: string): string | undefined => lines(text)[0]?.split(/\s+/)[0];
const json = (text: string): Record<string, unknown> => {
  try {
    return asRecord(JSON.parse(text.replace(/^\uFEFF/, '')));
  } catch {
    // A file that is not JSON pins nothing.
    return {};
  }
};
const asRecord = (value: unknown): Record<string, unknown> => (typeof value === 'object' && value !== null && !Array.isArray(value) ? value as Record<string, unknown> : {});

/** The toolchain is exact, `go` is the least that is needed: both are versions that do. */
function goMod(text: string): string | undefined {
  const word = (name: string): string | undefined => new RegExp(String.raw`^\s*${name}\s+(\S+)`, 'm').exec(text.replaceAll(/\/\/.*/g, ''))?.[1];
  const toolchain = word('toolchain');
  return toolchain !== undefined && toolchain !== 'default' && toolchain !== 'local' ? toolchain.replace(/^go/, '') : word('go');
}

function nodeFile(text: string): string | undefined {
  const word = firstWord(text)?.replace(/^v(?=\d)/, '');
  if (word === 'lts/*') return 'lts';
  if (word === 'node' || word === 'stable' || word === 'current') return 'latest';
  // nvm's words for versions of this machine.
  return word === 'system' || word === 'default' ? undefined : word;
}

function packageJson(text: string): string | undefined {
  const data = json(text);
  const volta = asRecord(data['volta'])['node'];
  if (typeof volta === 'string') return volta;
  const engine = asRecord(data['engines'])['node'];
  return typeof engine === 'string' ? fromRange(engine) : undefined;
}

/** An npm range as a prefix that mise takes: the last alternative, no newer than its major (or, with `~`, minor) version. */
export function fromRange(range: string): string | undefined {
  const [, operator, version] = /^\s*(~>?|\^|>=|=|)\s*v?(\d+(?:\.\d+){0,2})(?![\w-])/.exec(range.split('||').at(-1)!) ?? [];
  if (version === undefined) return undefined;
  const keep = operator === '~' || operator === '~>' ? 2 : operator === '' || operator === '=' ? 3 : 1;
  return version.split('.').slice(0, keep).join('.');
}

function pythonVersion(text: string): string | undefined {
  // Others are names of environments of one person's machine.
  return lines(text).map((line) => line.split(/\s+/)[0]!).find((word) => /^(\d|(pypy|graalpy|miniconda|miniforge|anaconda)\d*-?\d)/.test(word));
}

function rustToolchain(text: string): string | undefined {
  const channel = /^\s*channel\s*=\s*["']([^"']*)["']/m.exec(text);
  if (channel !== null) return channel[1];
  return /[[=]/.test(text) ? undefined : firstWord(text);
}

interface Source { readonly tool: ToolName; readonly file: string; readonly read: (text: string) => string | undefined }
/** In order: the first of a tool's files that names a version counts. */
export const pinSources: readonly Source[] = [
  { tool: 'go', file: 'go.mod', read: goMod },
  { tool: 'node', file: '.nvmrc', read: nodeFile },
  { tool: 'node', file: '.node-version', read: nodeFile },
  { tool: 'node', file: 'package.json', read: packageJson },
  { tool: 'python', file: '.python-version', read: pythonVersion },
  // rustup prefers the file without an ending.
  { tool: 'rust', file: 'rust-toolchain', read: rustToolchain },
  { tool: 'rust', file: 'rust-toolchain.toml', read: rustToolchain },
];

const aliases: Readonly<Record<string, ToolName>> = { go: 'go', golang: 'go', node: 'node', nodejs: 'node', python: 'python', rust: 'rust' };

/** Tools of ours that a file of mise (or asdf) names itself. */
export function toolsNamed(file: string, text: string): ToolName[] {
  const names = file.endsWith('.tool-versions') ? lines(text).map((line) => line.split(/\s+/)[0]!) : tomlTools(text);
  return names.flatMap((name) => aliases[name.replace(/^core:/, '')] ?? []);
}

/** Keys below `[tools]`: enough of TOML to see what is named there. */
function tomlTools(text: string): string[] {
  const names: string[] = [];
  let section = '';
  for (const line of lines(text)) {
    const header = /^\[\s*([^\]]+?)\s*\]/.exec(line);
    const key = /^(?:["']([^"']+)["']|([\w.:-]+))\s*=/.exec(line);
    if (header !== null) {
      section = header[1]!;
      if (section.startsWith('tools.')) names.push(section.slice('tools.'.length).replaceAll(/["']/g, ''));
    } else if (key !== null) {
      const name = key[1] ?? key[2]!;
      if (section === 'tools') names.push(name.split('.')[0]!);
      else if (section === '' && name.startsWith('tools.')) names.push(name.split('.')[1]!);
    }
  }
  return names;
}
