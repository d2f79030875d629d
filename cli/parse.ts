// cac behind a wrapper that gives text back as it was typed.
//
// cac turns `--name 007` into 7 and `--cpu -1` into an unknown option `-1`. So words are put in an unambiguous form first
// (`--name=<guard>007`): a guarded word is no number, no option and no boolean to it. cac then groups short flags, resolves
// aliases, collects lists and checks; the guard comes off its result.
import { cac, type Command } from 'cac';
import { badRequest, BangerError } from '../core/errors.ts';
import type { CommandDef, FlagDef } from './command.ts';
import { helpFlag } from './command.ts';
import { suggest } from './suggest.ts';

export interface Parsed { readonly args: readonly string[]; readonly flags: Flags; readonly trailing: readonly string[] }
type FlagValue = string | boolean | number | readonly string[];

/** Flags of one call, by name, as typed by their definitions. */
export class Flags {
  readonly #values: ReadonlyMap<string, FlagValue>;
  readonly definitions: readonly FlagDef[];
  constructor(values: ReadonlyMap<string, FlagValue>, definitions: readonly FlagDef[] = []) {
    this.#values = values;
    this.definitions = definitions;
  }
  text(name: string): string | undefined {
    const value = this.#values.get(name);
    return typeof value === 'string' ? value : undefined;
  }
  integer(name: string): number | undefined {
    const value = this.#values.get(name);
    return typeof value === 'number' ? value : undefined;
  }
  on(name: string): boolean {
    return this.#values.get(name) === true;
  }
  list(name: string): readonly string[] {
    const value = this.#values.get(name);
    return Array.isArray(value) ? value as readonly string[] : [];
  }
  /** Whatever was given; undefined when it was not. */
  value(name: string): FlagValue | undefined {
    return this.#values.get(name);
  }
}

/** Bad usage: exit code 2, one sentence, a hint. */
export const usageError = (message: string, hint?: string): BangerError => new BangerError('bad_request', message, { hint });

/** An unknown flag, told apart because the flags of plugins are looked up only then. */
export class UnknownFlag extends BangerError {}

const guard = '\u0001';
const unguard = (word: string): string => (word.startsWith(guard) ? word.slice(1) : word);
/** cac reads a leading `no-` as negation, and lets a switch with a hyphen eat the next word: so no hyphens for it. */
const cacName = (name: string): string => name.replaceAll(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/**
 * Parses the words after a command's path.
 * @throws bad_request for an unknown flag, a flag without its value, missing and surplus arguments, a number that is none
 */
export function parseWords(command: CommandDef, words: readonly string[]): Parsed {
  const end = words.indexOf('--');
  const own = end === -1 ? words : words.slice(0, end);
  const trailing = end === -1 ? [] : words.slice(end + 1);
  const definitions = [...command.flags ?? [], helpFlag];
  const normalised = own.length === 0 ? [] : normalise(own, definitions, command);
  const parsed = parseWithCac(definitions, normalised);
  const flags = new Flags(readValues(definitions, parsed.options), definitions);
  const args = parsed.args.map(unguard);
  if (!flags.on('help')) requireArgs(command, args, end !== -1);
  return { args, flags, trailing };
}

/** Puts each word in a form that cac cannot misread. */
function normalise(words: readonly string[], definitions: readonly FlagDef[], command: CommandDef): string[] {
  const result: string[] = [];
  for (let i = 0; i < words.length; i += 1) {
    const word = words[i]!;
    if (!word.startsWith('-') || word === '-') {
      result.push(guard + word);
      continue;
    }
    const equals = word.indexOf('=');
    const name = equals === -1 ? word : word.slice(0, equals);
    const flag = word.startsWith('--') ? longFlag(name, definitions, command) : shortFlags(name, definitions, command, result);
    if (flag.type === 'boolean') {
      if (equals !== -1) throw usageError(`${name} takes no value`);
      result.push(`--${cacName(flag.name)}`);
      continue;
    }
    let value = equals === -1 ? undefined : word.slice(equals + 1);
    if (value === undefined) {
      value = words[i + 1];
      // A following long flag is a forgotten value; `-1` or `-` may be meant.
      if (value === undefined || value.startsWith('--')) throw usageError(`--${flag.name} needs a value`, `--${flag.name} <${flag.placeholder ?? 'value'}>`);
      i += 1;
    }
    result.push(`--${cacName(flag.name)}=${guard}${value}`);
  }
  return result;
}

function longFlag(name: string, definitions: readonly FlagDef[], command: CommandDef): FlagDef {
  const flag = definitions.find((definition) => `--${definition.name}` === name);
  if (flag) return flag;
  const near = suggest(name.slice(2), definitions.map((definition) => definition.name));
  throw unknownFlag(name, command, near === undefined ? undefined : `did you mean --${near}?`);
}

/** All but the last letter of `-abc` must be switches; answers the last one's flag. */
function shortFlags(word: string, definitions: readonly FlagDef[], command: CommandDef, result: string[]): FlagDef {
  const letters = Array.from(word.slice(1));
  const flags = letters.map((letter) => {
    const flag = definitions.find((definition) => definition.short === letter);
    if (!flag) throw unknownFlag(letters.length === 1 ? word : `-${letter} in ${word}`, command);
    return flag;
  });
  const last = flags.pop()!;
  const early = flags.find((flag) => flag.type !== 'boolean');
  if (early) throw usageError(`-${early.short!} needs a value, so it comes last in ${word}`);
  if (flags.length > 0) result.push(`-${flags.map((flag) => flag.short!).join('')}`);
  return last;
}

const unknownFlag = (name: string, command: CommandDef, hint?: string): UnknownFlag =>
  new UnknownFlag('bad_request', `Unknown flag ${name} for banger ${command.path.join(' ')}`, { hint: hint ?? `banger ${command.path.join(' ')} --help lists the flags` });

interface CacResult { readonly args: readonly string[]; readonly options: Readonly<Record<string, unknown>> }

function parseWithCac(definitions: readonly FlagDef[], words: readonly string[]): CacResult {
  const cli = cac('banger');
  const command = declare(cli.command('run [...args]', ''), definitions);
  let result: CacResult | undefined;
  command.action((args: string[], options: Record<string, unknown>) => {
    result = { args, options };
  });
  cli.parse(['node', 'banger', 'run', ...words], { run: false });
  if (cli.matchedCommand !== command) throw new BangerError('internal', 'The argument parser lost its command');
  // Synchronous on purpose: the handler runs in run.ts, so its errors cannot escape here.
  cli.runMatchedCommand();
  if (!result) throw new BangerError('internal', 'The argument parser gave no result');
  return result;
}

function declare(command: Command, definitions: readonly FlagDef[]): Command {
  for (const flag of definitions) {
    const names = `${flag.short === undefined ? '' : `-${flag.short}, `}--${cacName(flag.name)}`;
    command.option(flag.type === 'boolean' ? names : `${names} <value>`, '');
  }
  return command;
}

function readValues(definitions: readonly FlagDef[], options: Readonly<Record<string, unknown>>): Map<string, FlagValue> {
  const values = new Map<string, FlagValue>();
  for (const flag of definitions) {
    const raw = options[cacName(flag.name)];
    if (raw === undefined) continue;
    const all = (Array.isArray(raw) ? raw : [raw]) as (string | boolean)[];
    values.set(flag.name, readValue(flag, all));
  }
  return values;
}

function readValue(flag: FlagDef, given: readonly (string | boolean)[]): FlagValue {
  if (flag.type === 'boolean') return given.at(-1) === true;
  const texts = given.map((value) => unguard(String(value)));
  if (flag.type === 'list') return texts;
  const text = texts.at(-1)!; // the last one counts, as with most tools
  if (flag.type === 'string') return text;
  if (!/^-?\d{1,15}$/.test(text)) throw badRequest([{ path: `--${flag.name}`, message: `wants a whole number, got ${text}` }], 'flag');
  return Number(text);
}

function requireArgs(command: CommandDef, args: readonly string[], hasTrailing: boolean): void {
  const name = `banger ${command.path.join(' ')}`;
  const wanted = command.args ?? [];
  const missing = wanted.filter((arg) => arg.required).slice(args.length)[0];
  if (missing) throw usageError(`${name} needs <${missing.name}>`, `${name} --help shows how it is used`);
  if (!wanted.some((arg) => arg.variadic) && args.length > wanted.length) {
    throw usageError(`${name} does not take ${args[wanted.length]}`, command.trailing === undefined ? `${name} --help shows how it is used` : `put -- before the command: ${name} ... -- ${args.slice(wanted.length).join(' ')}`);
  }
  if (hasTrailing && command.trailing === undefined) throw usageError(`${name} takes nothing after --`);
}
