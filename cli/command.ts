// Commands are data: help, parsing and completion come from the same value; handlers load only when their command runs.
import type { CliSpec } from '../core/api.ts';
import type { Daemon } from './daemon-link.ts';
import type { Io } from './io.ts';
import type { Flags } from './parse.ts';

export interface FlagDef {
  /** Without dashes. */
  readonly name: string;
  /** One letter. */
  readonly short?: string;
  readonly type: 'string' | 'boolean' | 'list' | 'integer';
  /** Shown in help as `--name <placeholder>`. */
  readonly placeholder?: string;
  readonly summary: string;
  /** Plugin and key in its spec section, for flags that plugins contribute. */
  readonly section?: { readonly plugin: string; readonly key: string; readonly value?: boolean };
}
export interface ArgDef {
  readonly name: string;
  readonly required?: boolean;
  /** Takes all remaining words; only the last argument. */
  readonly variadic?: boolean;
}
export interface CommandContext {
  readonly args: readonly string[];
  readonly flags: Flags;
  /** Words after `--`, untouched. */
  readonly trailing: readonly string[];
  readonly io: Io;
  /** Connection to the daemon; starts it when none answers. One per command. */
  daemon(): Promise<Daemon>;
}
/** Answers the exit code; nothing means 0. */
export type Handler = (ctx: CommandContext) => Promise<number | void>;
export interface CommandDef {
  /** Such as ["vm", "list"]. */
  readonly path: readonly string[];
  /** Other paths of the same command. */
  readonly aliases?: readonly (readonly string[])[];
  /** One line, without a full stop. */
  readonly summary: string;
  readonly details?: string;
  readonly args?: readonly ArgDef[];
  readonly flags?: readonly FlagDef[];
  /** Takes words after `--`; the text is their name in help. */
  readonly trailing?: string;
  readonly examples?: readonly string[];
  /** Takes the flags that plugins contribute to this verb. */
  readonly pluginFlags?: 'run' | 'create' | 'set';
  /** Runs a command in a guest: failures of banger itself exit 125. */
  readonly runsGuestCommand?: true;
  load(): Promise<{ readonly default: Handler }>;
}

/** Declares a command; returns it unchanged, with its type checked. */
export const defineCommand = (definition: CommandDef): CommandDef => definition;

/** Flag that every read verb has. */
export const jsonFlag: FlagDef = { name: 'json', type: 'boolean', summary: 'Print the result as JSON' };
export const helpFlag: FlagDef = { name: 'help', short: 'h', type: 'boolean', summary: 'Show this help' };

/** The command with the flags that plugins add to its verb. */
export function withPluginFlags(command: CommandDef, spec: CliSpec): CommandDef {
  const verb = command.pluginFlags;
  if (verb === undefined) return command;
  const added = spec.flags.filter((flag) => flag.verbs.includes(verb)).map((flag): FlagDef => ({
    name: flag.name, type: flag.type, summary: flag.summary, section: { plugin: flag.section, key: flag.key, ...(flag.value === undefined ? {} : { value: flag.value }) },
    // Authors write it with or without the brackets that help puts around it.
    ...(flag.placeholder === undefined ? {} : { placeholder: flag.placeholder.replace(/^<(.*)>$/, '$1') }),
  }));
  return { ...command, flags: [...command.flags ?? [], ...added] };
}
