// argv → command → exit code.
import type { CliSpec } from '../core/api.ts';
import { isBangerError } from '../core/errors.ts';
import { catalog } from './catalog.ts';
import { withPluginFlags, type CommandContext, type CommandDef } from './command.ts';
import { DaemonLink, type Daemon } from './daemon-link.ts';
import { exitCodeOf, renderError, withHint } from './errors.ts';
import { BrokenPipe, brokenPipeExitCode, type Io } from './io.ts';
import { parseWords, UnknownFlag, usageError, type Parsed } from './parse.ts';
import { suggest } from './suggest.ts';

/** One daemon connection a process, opened when first asked for. */
class Session {
  readonly io: Io;
  #daemon: Promise<Daemon> | undefined;
  #spec: Promise<CliSpec> | undefined;
  constructor(io: Io) {
    this.io = io;
  }
  daemon(): Promise<Daemon> {
    this.#daemon ??= DaemonLink.open({ env: this.io.env, say: (line) => this.io.err(`${line}\n`) });
    return this.#daemon;
  }
  /** What plugins add to the command line. */
  spec(): Promise<CliSpec> {
    this.#spec ??= this.daemon().then((daemon) => daemon.call('plugin.cli', {}, { read: true }));
    return this.#spec;
  }
  async close(): Promise<void> {
    (await this.#daemon?.catch(() => undefined))?.close();
  }
}

/** Runs one command line; answers its exit code. Only a closed stdout gets out as an error. */
export async function run(words: readonly string[], io: Io): Promise<number> {
  const session = new Session(io);
  let command: CommandDef | undefined;
  try {
    const found = await findCommand(words, session);
    if (typeof found === 'number') return found;
    command = found.command;
    return await runCommand(found.command, found.words, session);
  } catch (error) {
    if (error instanceof BrokenPipe) return brokenPipeExitCode;
    io.err(renderError(error, io));
    return exitCodeOf(error, command?.runsGuestCommand);
  } finally {
    await session.close();
  }
}

async function runCommand(command: CommandDef, words: readonly string[], session: Session): Promise<number> {
  const { definition, parsed } = await parse(command, words, session);
  if (parsed.flags.on('help')) return showHelp(definition, session);
  const ctx: CommandContext = { ...parsed, io: session.io, daemon: () => session.daemon() };
  const { default: handler } = await command.load();
  return (await handler(ctx)) ?? 0;
}

interface Read { readonly definition: CommandDef; readonly parsed: Parsed }
const read = (definition: CommandDef, words: readonly string[]): Read => ({ definition, parsed: parseWords(definition, words) });

/** Flags of plugins are asked for only when a flag is none of core's, so that usual calls need no extra round trip. */
async function parse(command: CommandDef, words: readonly string[], session: Session): Promise<Read> {
  try {
    return read(command, words);
  } catch (error) {
    if (!(error instanceof UnknownFlag) || command.pluginFlags === undefined) throw error;
    if (isDryRun(command, words)) return parseDryRun(command, words);
    return read(withPluginFlags(command, await session.spec()), words);
  }
}

function isDryRun({ flags = [] }: CommandDef, words: readonly string[]): boolean {
  const end = words.indexOf('--');
  return flags.some(({ name }) => name === 'dry-run') && (end === -1 ? words : words.slice(0, end)).includes('--dry-run');
}

/** What goes into a VM is for no plugin to say, so no daemon is started to learn its flags. */
async function parseDryRun(command: CommandDef, words: readonly string[]): Promise<Read> {
  const { builtinFlags } = await import('./builtin-flags.ts');
  try {
    return read(withPluginFlags(command, { flags: builtinFlags, commands: [] }), words);
  } catch (error) {
    throw error instanceof UnknownFlag ? withHint(error, 'a dry run asks no daemon, so it knows no flags of third-party plugins') : error;
  }
}

async function showHelp(command: CommandDef, session: Session): Promise<number> {
  const { commandHelp } = await import('./help.ts');
  let note: string | undefined;
  let shown = command;
  if (command.pluginFlags !== undefined && !command.flags?.some((flag) => flag.section !== undefined)) {
    try {
      shown = withPluginFlags(command, await session.spec());
    } catch (error) {
      note = `Flags of plugins are missing here: ${isBangerError(error) ? error.message : 'the daemon does not answer'}.`;
    }
  }
  session.io.out(commandHelp(shown, note));
  return 0;
}

const isHelp = (word: string | undefined): boolean => word === '--help' || word === '-h';
const startsWith = (path: readonly string[], words: readonly string[]): boolean => words.length > 0 && words.every((word, i) => path[i] === word);
const pathsOf = (command: CommandDef): (readonly string[])[] => [command.path, ...command.aliases ?? []];

/** The command with the longest path that the words begin with. */
function match(words: readonly string[], commands: readonly CommandDef[]): { command: CommandDef; words: readonly string[] } | undefined {
  let best: { command: CommandDef; length: number } | undefined;
  for (const command of commands) {
    for (const path of pathsOf(command)) {
      if (path.length > (best?.length ?? 0) && startsWith(words, path)) best = { command, length: path.length };
    }
  }
  return best && { command: best.command, words: words.slice(best.length) };
}

async function findCommand(given: readonly string[], session: Session): Promise<number | { command: CommandDef; words: readonly string[] }> {
  if (given.length === 0 || (given.length === 1 && isHelp(given[0]))) return showRoot(session.io);
  if (given[0] === '--version' || given[0] === '-V') return showVersion(session.io);
  const words = given[0] === 'help' ? [...given.slice(1), '--help'] : given;
  if (words.length === 1 && isHelp(words[0])) return showRoot(session.io);
  const builtin = match(words, catalog);
  if (builtin) return builtin;
  const group = words.filter((word) => !isHelp(word));
  if (catalog.some((command) => startsWith(command.path, group))) return showGroup(group, session.io);
  if (words[0]!.startsWith('-')) throw usageError(`Unknown flag ${words[0]!}`, 'banger --help lists the commands');
  return findContributed(words, session);
}

async function showRoot(io: Io): Promise<number> {
  io.out((await import('./help.ts')).rootHelp(catalog));
  return 0;
}
async function showGroup(group: readonly string[], io: Io, commands: readonly CommandDef[] = catalog): Promise<number> {
  io.out((await import('./help.ts')).groupHelp(group, commands));
  return 0;
}
async function showVersion(io: Io): Promise<number> {
  const [{ versionLine }, { buildInfo }] = await Promise.all([import('./version-text.ts'), import('../core/build-info.ts')]);
  io.out(versionLine(buildInfo()));
  return 0;
}

/** Commands of plugins, and the refusal when there is none either. */
async function findContributed(words: readonly string[], session: Session): Promise<number | { command: CommandDef; words: readonly string[] }> {
  let contributed: readonly CommandDef[] = [];
  try {
    const { contributedCommands } = await import('./contributed.ts');
    contributed = contributedCommands(await session.spec());
  } catch (error) {
    if (!isBangerError(error)) throw error;
    // Without a daemon there are only the built-in commands; the typing error is the news.
  }
  const all = [...catalog, ...contributed];
  const found = match(words, contributed);
  if (found) return found;
  const group = words.filter((word) => !isHelp(word));
  if (contributed.some((command) => startsWith(command.path, group))) return showGroup(group, session.io, all);
  throw unknownCommand(words, all);
}

function unknownCommand(words: readonly string[], commands: readonly CommandDef[]): Error {
  const paths = commands.flatMap(pathsOf);
  let known: readonly string[] = [];
  while (known.length < words.length - 1 && paths.some((path) => startsWith(path, words.slice(0, known.length + 1)))) known = words.slice(0, known.length + 1);
  const typed = words[known.length] ?? '';
  const near = suggest(typed, new Set(paths.filter((path) => known.length === 0 || startsWith(path, known)).map((path) => path[known.length] ?? '')));
  const where = ['banger', ...known].join(' ');
  return usageError(`Unknown command ${where} ${typed}`, near === undefined ? `${where} --help lists the commands` : `did you mean ${where} ${near}?`);
}
