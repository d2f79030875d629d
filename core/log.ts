// The daemon's log: JSON lines by pino, bounded on disk, secrets removed. The only importer of pino.
import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs';
import { pino } from 'pino';
import type { Logger } from './plugin-api.ts';

export const logLevels = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof logLevels)[number];

export interface LogOptions {
  /** @default info */
  readonly level?: LogLevel;
  /** A file to append to, standard error, or a function that takes each line with its newline. */
  readonly to: { readonly file: string; readonly maxBytes?: number } | 'stderr' | ((line: string) => void);
}
/** A logger with an end. `close` is for the owner of the log only. */
export interface Log extends Logger {
  close(): void;
}

/** File sizes are bounded to twice this: the file and the one before it. */
const defaultMaxBytes = 8 * 1024 * 1024;

/** Writes are synchronous, so that the last lines before a crash are in the file. */
export function createLog(options: LogOptions): Log {
  const sink = openSink(options.to);
  const base = pino({
    level: options.level ?? 'info',
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    // Errors and secrets are handled for all fields in `formatters`, not by key.
    serializers: { err: (value: unknown) => value },
    formatters: {
      level: (label) => ({ level: label }),
      log: (fields) => sanitize(fields) as Record<string, unknown>,
    },
  }, sink);
  return Object.assign(wrap(base), { close: () => sink.close() });
}

/** Drops everything. */
export const nullLog: Logger = {
  debug() {}, info() {}, warn() {}, error() {},
  child: () => nullLog,
};

function wrap(log: pino.Logger): Logger {
  const at = (level: LogLevel) => (fields: object | string, message?: string): void =>
    typeof fields === 'string' ? log[level](fields) : log[level](fields, message);
  return {
    debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'),
    // pino runs its formatter for bindings on the root only.
    child: (fields) => wrap(log.child(sanitize(fields) as Record<string, unknown>)),
  };
}

interface Sink { write(line: string): void; close(): void }

function openSink(to: LogOptions['to']): Sink {
  if (typeof to === 'function') return { write: to, close() {} };
  if (to === 'stderr') return { write: (line) => writeIgnoringErrors(2, line), close() {} };
  return openFile(to.file, to.maxBytes ?? defaultMaxBytes);
}

function openFile(file: string, maxBytes: number): Sink {
  let fd = openSync(file, 'a', 0o600);
  let size = fstatSync(fd).size;
  let closed = false;
  const rotate = (): void => {
    try {
      renameSync(file, `${file}.1`);
      const next = openSync(file, 'a', 0o600);
      closeSync(fd);
      fd = next;
    } catch {
      // A log that cannot be rotated goes on in the open file: losing lines would hide the trouble behind it.
    }
    size = 0;
  };
  return {
    write(line) {
      if (closed) return;
      const bytes = Buffer.byteLength(line);
      if (size > 0 && size + bytes > maxBytes) rotate();
      size += bytes;
      writeIgnoringErrors(fd, line);
    },
    close() {
      if (!closed) closeSync(fd);
      closed = true;
    },
  };
}

/** A full disk or a closed standard error must not end the daemon. */
function writeIgnoringErrors(fd: number, line: string): void {
  try {
    writeSync(fd, line);
  } catch {
    // Nowhere left to say it.
  }
}

const secretKey = /(^|[_-])(token|password|passwd|secret|authorization|cookie|credentials?)s?$|(private|secret|api|host|access)[_-]?keys?$|(token|password|secret|authorization)$/i;
const maxDepth = 8;

/** Values for the log: errors as data with their causes, values of secret keys replaced. */
export function sanitize(value: unknown, depth = 0, seen: readonly object[] = []): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (depth >= maxDepth) return '[deep]';
  if (seen.includes(value)) return '[circular]';
  const path = [...seen, value];
  if (value instanceof Error) return errorFields(value, depth, path);
  if (Array.isArray(value)) return value.map((item) => sanitize(item, depth + 1, path));
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (value instanceof Date || ('toJSON' in value && typeof value.toJSON === 'function')) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) =>
    [key, secretKey.test(key) && item !== undefined ? '[redacted]' : sanitize(item, depth + 1, path)]));
}

function errorFields(error: Error, depth: number, path: readonly object[]): Record<string, unknown> {
  const own = error as Error & { code?: unknown; hint?: unknown; detail?: unknown; errors?: unknown };
  const fields: Record<string, unknown> = { type: error.name, message: error.message };
  for (const key of ['code', 'hint', 'detail', 'errors', 'cause'] as const) {
    if (own[key] !== undefined) fields[key] = sanitize(own[key], depth + 1, path);
  }
  fields['stack'] = error.stack;
  return fields;
}
