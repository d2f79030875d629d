// Help is generated from the command data; nothing is written twice.
import { helpFlag, type ArgDef, type CommandDef, type FlagDef } from './command.ts';

const groupSummaries: Readonly<Record<string, string>> = {
  vm: 'Create, run and manage VMs', 'vm workspace': 'Put a git repository into a VM, and bring the work back', image: 'Images that VMs boot from', kernel: 'Kernels that VMs boot with',
  op: 'Long-running operations', plugin: 'Plugins of the daemon', daemon: 'The background daemon',
};

function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`.trimEnd()).join('\n');
}
const argText = (arg: ArgDef): string => {
  const name = arg.variadic === true ? `${arg.name}...` : arg.name;
  return arg.required === true ? `<${name}>` : `[${name}]`;
};
const flagText = (flag: FlagDef): string =>
  `${flag.short === undefined ? '    ' : `-${flag.short}, `}--${flag.name}${flag.type === 'boolean' ? '' : ` <${flag.placeholder ?? (flag.type === 'integer' ? 'n' : 'value')}>`}`;

/** One line: `banger vm exec [flags] <ref> [-- command...]`. */
export function usageLine(command: CommandDef): string {
  return ['banger', ...command.path, '[flags]', ...(command.args ?? []).map(argText), ...(command.trailing === undefined ? [] : [`[-- ${command.trailing}...]`])].join(' ');
}

/** Help of one command. `note` says why something is missing. Ends with a newline. */
export function commandHelp(command: CommandDef, note?: string): string {
  const flags = [...command.flags ?? []].sort((a, b) => (a.name < b.name ? -1 : 1));
  const row = (flag: FlagDef): readonly [string, string] =>
    [flagText(flag), `${flag.summary}${flag.type === 'list' ? ' (repeatable)' : ''}${flag.section === undefined ? '' : ` [${flag.section.plugin}]`}`];
  const sections = [
    `${command.summary}.`, `Usage:\n  ${usageLine(command)}`,
    ...(command.aliases === undefined ? [] : [`Also:\n  ${command.aliases.map((path) => `banger ${path.join(' ')}`).join('\n  ')}`]),
    ...(command.details === undefined ? [] : [command.details]),
    `Flags:\n${columns([...flags, helpFlag].map(row))}`,
    ...(note === undefined ? [] : [note]),
    ...(command.examples === undefined ? [] : [`Examples:\n${command.examples.map((line) => `  ${line}`).join('\n')}`]),
  ];
  return `${sections.join('\n\n')}\n`;
}

/** Help of a group (`banger vm`): its commands. */
export function groupHelp(prefix: readonly string[], commands: readonly CommandDef[]): string {
  const rows = commands.filter((command) => prefix.every((word, i) => command.path[i] === word))
    .map((command) => [command.path.join(' '), command.summary] as const);
  return `${groupSummaries[prefix.join(' ')] ?? `Commands of ${prefix.join(' ')}`}.\n\nUsage:\n  banger ${prefix.join(' ')} <command> [flags]\n\nCommands:\n${columns(rows)}\n\nbanger ${prefix.join(' ')} <command> --help shows one command.\n`;
}

/** Help of the whole: groups and single commands. */
export function rootHelp(commands: readonly CommandDef[]): string {
  const rows = new Map<string, string>();
  for (const command of commands) {
    const [first] = command.path;
    if (first !== undefined && !rows.has(first)) rows.set(first, command.path.length === 1 ? command.summary : groupSummaries[first] ?? `Commands of ${first}`);
  }
  return `banger boots a microVM, runs your command in it and leaves nothing behind.\n\nUsage:\n  banger <command> [flags]\n\nCommands:\n${columns([...rows])}\n\nExamples:\n  banger vm run --rm -- uname -a\n  banger vm run --name devbox\n  banger vm list\n\nbanger help <command> shows one command.\n`;
}
