// Turns zod's findings into lines with the path of the key, and names the key that was probably meant.
import type { z } from 'zod';
import type { Issue } from '../errors.ts';
import { didYouMean } from './suggest.ts';

export interface IssueContext {
  /** Goes before every path. */
  readonly prefix?: readonly string[];
  /** Keys that are known at the top beside those of the schema. */
  readonly known?: readonly string[];
}

/** One issue per problem; an unknown key gets an issue of its own. */
export function issuesOf(error: z.ZodError, schema: z.ZodType, { prefix = [], known: more = [] }: IssueContext = {}): Issue[] {
  return error.issues.flatMap((issue) => {
    const at = issue.path.map(String);
    if (issue.code === 'unrecognized_keys') {
      const known = [...knownKeys(schema, at), ...(at.length === 0 ? more : [])];
      return issue.keys.map((key) => ({ path: joinPath([...prefix, ...at, key]), message: `unknown key${didYouMean(key, known)}` }));
    }
    return [{ path: joinPath([...prefix, ...at]), message: lowerFirst(issue.message) }];
  });
}

/** Dotted path as TOML writes it; parts that are not bare keys are quoted. */
export function joinPath(parts: readonly string[]): string {
  return parts.map((part) => (/^[A-Za-z0-9_-]+$/.test(part) ? part : JSON.stringify(part))).join('.');
}

const lowerFirst = (text: string): string => text.replace(/^Invalid/, 'invalid').replace(/^Too/, 'too');

/** The parts of a schema that say which keys it takes; read by structure, so that it does not matter which copy of zod made it. */
interface Def {
  readonly type?: string;
  readonly shape?: Readonly<Record<string, z.ZodType>>;
  readonly innerType?: z.ZodType;
  readonly in?: z.ZodType;
  readonly element?: z.ZodType;
  readonly valueType?: z.ZodType;
  readonly options?: readonly z.ZodType[];
}
const defOf = (schema: z.ZodType): Def => (schema as { _zod?: { def?: Def } })._zod?.def ?? {};

function knownKeys(schema: z.ZodType, path: readonly string[]): string[] {
  return objectsAt([schema], path).flatMap((object) => Object.keys(defOf(object).shape ?? {}));
}

function objectsAt(schemas: readonly z.ZodType[], path: readonly string[]): z.ZodType[] {
  const bare = schemas.flatMap(unwrap);
  const [head, ...rest] = path;
  if (head === undefined) return bare.filter((schema) => defOf(schema).shape !== undefined);
  const inner = bare.flatMap((schema) => {
    const def = defOf(schema);
    const child = def.shape ? def.shape[head] : def.element ?? def.valueType;
    return child ? [child] : [];
  });
  return inner.length === 0 ? [] : objectsAt(inner, rest);
}

function unwrap(schema: z.ZodType): z.ZodType[] {
  const def = defOf(schema);
  if (def.innerType) return unwrap(def.innerType);
  if (def.type === 'pipe' && def.in) return unwrap(def.in);
  return def.options ? def.options.flatMap(unwrap) : [schema];
}
