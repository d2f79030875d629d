// What a repository wants to be set up before work begins: tools that mise installs, and the command of a dev container. Read on the host, from
// the files that go into the guest.
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { isVersion, pinSources, toolsNamed } from './bootstrap-pins.ts';
import type { Tool, ToolName } from './bootstrap-pins.ts';
import { onDisk } from './host/bytes.ts';
import { parseJsonc } from './jsonc.ts';

/** As the dev container specification has it: a text is for a shell, a list is run without one, an object holds either by name, all at once. */
export type PostCreate = string | readonly string[] | Readonly<Record<string, string | readonly string[]>>;
export interface BootstrapPlan {
  /** Pins that are in none of mise's files. */
  readonly tools: readonly Tool[];
  /** Whether the repository has files of mise, or `.tool-versions`. */
  readonly mise: boolean;
  readonly postCreate?: PostCreate;
  /** Whether it makes no sense without a network: files of mise and a dev container's command. A pin alone is taken when it can be had. */
  readonly needsNetwork: boolean;
  /** The files that say so, for people. */
  readonly files: readonly string[];
  /** What will be done and what is left out, a line each, safe to show. */
  readonly summary: readonly string[];
}

const maxFileBytes = 1024 * 1024;
/** The whole script goes to the guest as one argument, which Linux bounds by 128 KiB. */
const maxPostCreateBytes = 32 * 1024;

/** Where mise looks in a directory, and asdf's file. */
export const miseFiles: readonly string[] = ['mise.toml', '.mise.toml', 'mise/config.toml', '.mise/config.toml', '.config/mise.toml', '.config/mise/config.toml', '.tool-versions'];
/** In the order of the specification. */
const containerFiles = ['.devcontainer/devcontainer.json', '.devcontainer.json'];

/** Text of a regular file; undefined for one that is gone, a link, or over 1 MiB. */
async function readSmall(root: string, file: string): Promise<string | undefined> {
  const handle = await open(onDisk(root, file), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(() => undefined);
  if (handle === undefined) return undefined;
  try {
    const stats = await handle.stat();
    if (!stats.isFile() || stats.size > maxFileBytes) return undefined;
    const content = Buffer.alloc(stats.size);
    const { bytesRead } = await handle.read(content, 0, content.length, 0);
    return content.toString('utf8', 0, bytesRead);
  } catch {
    // What cannot be read sets up nothing.
    return undefined;
  } finally {
    await handle.close();
  }
}

/**
 * Reads what to set up; changes nothing.
 *
 * @param root of the working tree
 * @param files paths below it that go into the guest (latin1); others are not looked at
 * @returns undefined when there is nothing to set up
 */
export async function planBootstrap(root: string, files: readonly string[]): Promise<BootstrapPlan | undefined> {
  const there = new Set(files);
  const read = async (names: readonly string[]): Promise<Map<string, string>> => {
    const texts = await Promise.all(names.filter((name) => there.has(name)).map(async (name) => [name, await readSmall(root, name)] as const));
    return new Map(texts.flatMap(([name, text]) => (text === undefined ? [] : [[name, text] as const])));
  };
  const ours = await read(miseFiles);
  const { tools, notices } = pins(await read(pinSources.map(({ file }) => file)), new Set([...ours].flatMap(([file, text]) => toolsNamed(file, text))));
  const container = fromContainer(await read(containerFiles));
  const mise = ours.size > 0;
  if (!mise && tools.length === 0 && container === undefined) return undefined;
  return {
    tools, mise, needsNetwork: mise || container?.postCreate !== undefined,
    ...(container?.postCreate === undefined ? {} : { postCreate: container.postCreate }),
    files: [...ours.keys(), ...(container?.postCreate === undefined ? [] : [container.file])],
    summary: [
      ...(mise ? [`mise installs what ${[...ours.keys()].join(' and ')} ${ours.size === 1 ? 'names' : 'name'}`] : []),
      ...tools.map(({ name, version, from }) => `mise installs ${name} ${version} (${from})`), ...notices,
      ...(container === undefined ? [] : [container.said]),
    ],
  };
}

function pins(texts: ReadonlyMap<string, string>, named: ReadonlySet<ToolName>): { readonly tools: Tool[]; readonly notices: string[] } {
  const tools: Tool[] = [];
  const notices: string[] = [];
  for (const { tool, file, read } of pinSources) {
    const text = texts.get(file);
    if (text === undefined || named.has(tool) || tools.some(({ name }) => name === tool)) continue;
    const version = read(text);
    if (version === undefined) continue;
    if (isVersion(version)) tools.push({ name: tool, version, from: file });
    else notices.push(`the version in ${file} is none that mise takes: ${shown(version)}`);
  }
  return { tools, notices };
}

interface Container { readonly file: string; readonly postCreate?: PostCreate; readonly said: string }

function fromContainer(texts: ReadonlyMap<string, string>): Container | undefined {
  const [file, text] = [...texts][0] ?? [];
  if (file === undefined || text === undefined) return undefined;
  let data: unknown;
  try {
    data = parseJsonc(text);
  } catch {
    return { file, said: `${file} is not JSON: nothing of it is done` };
  }
  if (typeof data !== 'object' || data === null) return undefined;
  const command = (data as Record<string, unknown>)['postCreateCommand'];
  if (command === undefined || command === null || command === '') return undefined;
  if (!isPostCreate(command)) return { file, said: `postCreateCommand of ${file} is none that can be run: it is left out` };
  return { file, postCreate: command, said: `postCreateCommand of ${file} runs: ${shown(typeof command === 'string' ? command : JSON.stringify(command))}` };
}

const isWords = (value: unknown): value is string | readonly string[] =>
  (typeof value === 'string' && !value.includes('\0')) || (Array.isArray(value) && value.length > 0 && value.every((word) => typeof word === 'string' && !word.includes('\0')));

function isPostCreate(value: unknown): value is PostCreate {
  if (Buffer.byteLength(JSON.stringify(value)) > maxPostCreateBytes) return false;
  if (isWords(value)) return true;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const entries = Object.entries(value);
  return entries.length > 0 && entries.length <= 64 && entries.every(([name, words]) => !name.includes('\0') && isWords(words));
}

/** One line without control characters, 200 characters at most. */
export function shown(text: string): string {
  // oxlint-disable-next-line no-control-regex -- these are what must not reach a terminal
  const line = text.replaceAll(/[\u0000-\u001F\u007F-\u009F\u2028\u2029\u202A-\u202E\u2066-\u2069]/g, (char) => (char.charCodeAt(0) < 256 ? `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}` : '?'));
  return line.length > 200 ? `${line.slice(0, 199)}…` : line;
}
