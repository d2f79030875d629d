// Reads TOML (toml.io, 1.0). The only importer of smol-toml.
import { parse, TomlError } from 'smol-toml';
import { configInvalid } from '../errors.ts';

export type Table = Readonly<Record<string, unknown>>;

/** @throws config_invalid with line and column */
export function parseToml(text: string, file: string): Table {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const problem = (error.message.split('\n', 1)[0] ?? '').replace('Invalid TOML document: ', '');
    throw configInvalid(file, [{ path: `line ${error.line}, column ${error.column}`, message: problem }]);
  }
}

export function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
