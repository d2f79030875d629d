// Writes docs/config.md and docs/rpc.md from the schemas and the registered methods: `node scripts/gen-docs.ts`. A test holds them fresh.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { coreSchema } from '../core/config/schema.ts';
import { startDaemon } from '../core/daemon.ts';
import { packageRoot, resolvePaths } from '../core/paths.ts';
import { connect } from '../core/rpc/client.ts';
import type { AnyPlugin } from '../core/plugins/definition.ts';
import type { OpenRpcDocument } from '../core/rpc/discover.ts';
import { builtinPlugins } from '../plugins/index.ts';

interface Schema {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly default?: unknown;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly allOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
}

const generated = (from: string): string => `<!-- Made by scripts/gen-docs.ts from ${from}; changes here are lost. -->`;
const code = (text: string): string => `\`${text.replaceAll('|', '\\|')}\``;
const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll(/\s+/g, ' ').trim();

/** A type as people write it; bounds that are only those of safe integers are left out. */
function typeText(schema: Schema): string {
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
  const parts = schema.anyOf ?? schema.oneOf ?? schema.allOf;
  if (parts) return [...new Set(parts.map(typeText))].join(' | ');
  if (schema.type === 'array') return `list of ${schema.items ? typeText(schema.items) : 'anything'}`;
  if (schema.type === 'object') return typeof schema.additionalProperties === 'object' && !schema.properties ? `table of ${typeText(schema.additionalProperties)}` : 'table';
  const name = schema.type === undefined ? 'anything' : [schema.type].flat().join(' | ');
  const low = schema.minimum !== undefined && Number.isSafeInteger(schema.minimum - 1) ? schema.minimum : undefined;
  const high = schema.maximum !== undefined && Number.isSafeInteger(schema.maximum + 1) ? schema.maximum : undefined;
  if (low !== undefined && high !== undefined) return `${name}, ${low} to ${high}`;
  return low !== undefined ? `${name}, from ${low}` : high !== undefined ? `${name}, up to ${high}` : name;
}

/** Leaves of a table, by dotted key. */
function leaves(schema: Schema, prefix = ''): { readonly key: string; readonly schema: Schema }[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, child]) =>
    (child.properties ? leaves(child, `${prefix}${name}.`) : [{ key: `${prefix}${name}`, schema: child }]));
}

const toSchema = (schema: z.ZodType): Schema => z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as Schema;

/** @throws Error for a key without a description */
function keyTable(owner: string, schema: Schema): string {
  const rows = leaves(schema).map(({ key, schema: leaf }) => {
    if (leaf.description === undefined) throw new Error(`${owner}: configuration key ${key} has no .describe()`);
    return `| ${code(key)} | ${cell(typeText(leaf))} | ${leaf.default === undefined ? '' : code(JSON.stringify(leaf.default))} | ${cell(leaf.description)} |`;
  });
  return rows.length === 0 ? 'No keys.' : ['| Key | Type | Default | Meaning |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

/** The keys of a plugin's section, and of its table or list beside the sections. */
function pluginTables({ name, configKey }: Pick<AnyPlugin, 'name' | 'configKey'>, schema: Schema): string {
  if (configKey === undefined) return keyTable(name, schema);
  const { entries, ...properties } = schema.properties ?? {};
  return `${keyTable(name, { ...schema, properties })}\n\n#### ${entries?.items ? `[[${configKey}]]` : `[${configKey}]`}\n\n${cell(entries?.description ?? '')}\n\n${keyTable(configKey, entries?.items ?? entries ?? {})}`;
}

/** Text of docs/config.md. */
export function configPage(): string {
  const plugins = [...builtinPlugins].sort((a, b) => (a.name < b.name ? -1 : 1)).map((plugin) => {
    const config = (plugin as { readonly config?: z.ZodType }).config;
    const schema = config ? toSchema(config) : {};
    return `### [plugins.${plugin.name}]\n\n${cell(plugin.summary)}\n\n${pluginTables(plugin, schema)}`;
  });
  return `${generated('the schemas')}
# Configuration

A TOML file: \`~/.config/banger/config.toml\`, for root \`/etc/banger/config.toml\`; \`XDG_CONFIG_HOME\` wins, \`BANGER_CONFIG\` names the file. Every key
is optional. Unknown keys are errors, all reported at once. The daemon reads it when it starts; \`banger doctor\` shows each value and its source.

## Core

${keyTable('core', toSchema(coreSchema))}

## Plugins

A third-party plugin has a section of its own name, checked by the plugin's own schema.

${plugins.join('\n\n')}
`;
}

/** Results as the typed client knows them, by method. */
function resultTypes(): ReadonlyMap<string, string> {
  const text = readFileSync(join(packageRoot(), 'core', 'rpc', 'methods.ts'), 'utf8');
  return new Map([...text.matchAll(/^ {2}'?([\w.]+)'?: \{ params: .*; result: (.*) \};$/gm)].map((match) => [match[1]!, match[2]!.replaceAll('readonly ', '')]));
}

/** Text of docs/rpc.md. @throws Error for a method that the typed client does not know */
export function rpcPage({ methods }: OpenRpcDocument): string {
  const results = resultTypes();
  const sections = methods.map((method) => {
    const result = results.get(method.name);
    if (result === undefined) throw new Error(`${method.name} is not in RpcMethods (core/rpc/methods.ts)`);
    const params = method.params.map(({ name, required, schema }) =>
      `| ${code(name)}${required ? '' : ' (optional)'} | ${cell(typeText(schema as Schema))} | ${cell((schema as Schema).description ?? '')} |`);
    return [
      `## ${method.name}`, `${cell(method.summary).replace(/\.?$/, '.')} Effect: ${method['x-effect']}. From: ${method['x-owner']}.`,
      ...(params.length === 0 ? ['No params.'] : [['| Param | Type | Meaning |', '| --- | --- | --- |', ...params].join('\n')]),
      `Result: \`${result}\``,
      ...(method.errors.length === 0 ? [] : [`Errors of its own: ${method.errors.map((error) => code(error.data.code)).join(', ')}`]),
    ].join('\n\n');
  });
  return `${generated('the registered methods')}
# RPC methods

JSON-RPC 2.0 over the daemon's Unix socket (\`banger daemon socket\`), a document a line, params by name. The first call should be \`rpc.hello\`. While a
method of effect write runs, the daemon sends \`rpc.progress\`; the notification \`rpc.cancel\` with an \`id\` cancels a call. Types are those of
\`core/api.ts\`, \`core/model.ts\` and \`core/rpc/methods.ts\`; [errors.md](errors.md) lists the codes that errors bear in \`data.code\`. \`rpc.discover\` gives
all this as an OpenRPC document, with third-party plugins' methods.

${sections.join('\n\n')}
`;
}

/** Asks a daemon in a directory of its own what it can do. */
export async function discoverMethods(): Promise<OpenRpcDocument> {
  const dir = mkdtempSync(join(tmpdir(), 'banger-docs-'));
  const env = { ...process.env, XDG_STATE_HOME: dir, XDG_CACHE_HOME: dir, XDG_CONFIG_HOME: dir, BANGER_CONFIG: undefined, BANGER_LOG_LEVEL: undefined };
  try {
    const daemon = await startDaemon({ plugins: builtinPlugins, env });
    try {
      const client = await connect(resolvePaths(env).socket);
      const document = await client.call('rpc.discover', {});
      client.close();
      return document;
    } finally {
      await daemon.close();
    }
  } finally {
    rmSync(dir, { recursive: true });
  }
}

if (import.meta.main) {
  const docs = join(packageRoot(), 'docs');
  writeFileSync(join(docs, 'config.md'), configPage());
  writeFileSync(join(docs, 'rpc.md'), rpcPage(await discoverMethods()));
}
