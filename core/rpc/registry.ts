// Every RPC method of the daemon, by name, with its owner. Filled while plugins are set up, then frozen.
import type { z } from 'zod';
import type { RpcMethod } from '../plugin-api.ts';

export interface RegisteredMethod {
  readonly name: string;
  /** Plugin name, or `core`. */
  readonly owner: string;
  // oxlint-disable-next-line typescript/no-explicit-any -- a registry holds methods of all params and results
  readonly method: RpcMethod<any, any>;
}

export interface MethodRegistry {
  /**
   * Adds a method.
   *
   * @throws Error when the name is malformed, reserved or taken (both owners named), the registry is frozen, or the params would let
   * unknown fields through: mistakes of a plugin's author, found at start.
   */
  register<P extends z.ZodType, R extends z.ZodType>(owner: string, name: string, method: RpcMethod<P, R>): void;
  /** No method comes or goes afterwards. */
  freeze(): void;
  readonly frozen: boolean;
  get(name: string): RegisteredMethod | undefined;
  /** By name. */
  list(): readonly RegisteredMethod[];
}

const methodName = /^[a-z][a-zA-Z0-9-]*(\.[a-z][a-zA-Z0-9-]*)*$/;
/** JSON-RPC 2.0 section 4 keeps these for the protocol itself. */
const reservedPrefix = 'rpc.';

export function createRegistry(): MethodRegistry {
  const methods = new Map<string, RegisteredMethod>();
  let frozen = false;
  return {
    register(owner, name, method) {
      if (frozen) throw new Error(`Method ${name} of ${owner} came after the registry was frozen; register in setup`);
      if (!methodName.test(name)) throw new Error(`Method name ${JSON.stringify(name)} of ${owner} is not of the form noun.verb`);
      if (name.startsWith(reservedPrefix)) throw new Error(`Method ${name} of ${owner}: names in ${reservedPrefix} belong to the protocol`);
      const taken = methods.get(name);
      if (taken !== undefined) throw new Error(`Method ${name} is registered by ${taken.owner} and by ${owner}`);
      if (!refusesUnknownFields(method.params)) throw new Error(`Params of method ${name} of ${owner} are not a z.strictObject`);
      methods.set(name, Object.freeze({ name, owner, method }));
    },
    freeze() {
      frozen = true;
    },
    get frozen() {
      return frozen;
    },
    get: (name) => methods.get(name),
    list: () => [...methods.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
  };
}

interface SchemaShape {
  readonly type: string;
  readonly catchall?: { readonly _zod: { readonly def: { readonly type: string } } };
  readonly in?: z.ZodType;
  readonly innerType?: z.ZodType;
  readonly options?: readonly z.ZodType[];
}

/** Looks through pipes, wrappers and unions for the objects: each must refuse fields it does not know. */
function refusesUnknownFields(schema: z.ZodType): boolean {
  const def = schema._zod.def as unknown as SchemaShape;
  if (def.type === 'object') return def.catchall?._zod.def.type === 'never';
  if (def.options !== undefined) return def.options.every(refusesUnknownFields);
  const inner = def.in ?? def.innerType;
  return inner !== undefined && refusesUnknownFields(inner);
}
