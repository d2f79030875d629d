// Flags of the verbs that plugins may add flags to: a plugin cannot take these names.
import { vmCommands } from './catalog-vm.ts';

export const reservedFlags: readonly string[] = [...new Set(vmCommands
  .filter((command) => command.pluginFlags !== undefined)
  .flatMap((command) => (command.flags ?? []).map((flag) => flag.name)))];
