// Verbs that plugins contribute as data: built here, without loading any plugin's code.
import type { CliSpec } from '../core/api.ts';
import { jsonFlag, type CommandContext, type CommandDef, type FlagDef } from './command.ts';
import { cellText, keyValue } from './render/keyvalue.ts';
import { jsonText } from './render/json.ts';
import { table } from './render/table.ts';

type Contributed = CliSpec['commands'][number];

/** Commands of active plugins, as the CLI's own kind. */
export const contributedCommands = (spec: CliSpec): readonly CommandDef[] => spec.commands.map(build);

function build(spec: Contributed): CommandDef {
  const flags = Object.entries(spec.flags ?? {}).map(([name, flag]): FlagDef => ({ name: kebab(name), type: flag.type, summary: flag.summary }));
  return {
    path: spec.path, summary: spec.summary, args: (spec.args ?? []).map((arg) => ({ ...arg })),
    flags: flags.some((flag) => flag.name === 'json') ? flags : [...flags, jsonFlag],
    load: async () => ({ default: (ctx) => runContributed(spec, ctx) }),
  };
}

const kebab = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

async function runContributed(spec: Contributed, ctx: CommandContext): Promise<number> {
  const params: Record<string, unknown> = {};
  for (const [i, arg] of (spec.args ?? []).entries()) {
    const value = arg.variadic === true ? ctx.args.slice(i) : ctx.args[i];
    if (value !== undefined) params[arg.name] = value;
  }
  for (const name of Object.keys(spec.flags ?? {})) {
    const value = ctx.flags.value(kebab(name));
    if (value !== undefined) params[name] = value;
  }
  const daemon = await ctx.daemon();
  const result = await daemon.callAny(spec.method, params);
  ctx.io.out(ctx.flags.on('json') ? jsonText(result) : renderResult(result, spec.render ?? 'json'));
  return 0;
}

/** A result as its plugin asked for; what does not fit the form is printed as JSON. */
export function renderResult(result: unknown, form: 'json' | 'table' | 'keyvalue' | 'none'): string {
  if (form === 'none') return '';
  if (form === 'keyvalue' && isRecord(result)) return keyValue(Object.entries(result));
  const rows = form === 'table' ? rowsOf(result) : undefined;
  if (!rows) return jsonText(result);
  const headers = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return table(headers.map((header) => header.toUpperCase()), rows.map((row) => headers.map((header) => cellText(row[header]))));
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Results are objects, so a table is the one list in it. */
function rowsOf(result: unknown): Record<string, unknown>[] | undefined {
  const list = Array.isArray(result) ? result as unknown[] : isRecord(result) ? Object.values(result).find((value) => Array.isArray(value)) as unknown[] | undefined : undefined;
  return list?.every(isRecord) === true ? list : undefined;
}
