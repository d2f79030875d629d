// The OpenRPC document of `rpc.discover`, made from the registered methods when somebody asks.
import { z } from 'zod';
import { rpcCode } from './protocol.ts';
import type { RegisteredMethod } from './registry.ts';

type JsonSchema = Readonly<Record<string, unknown>>;

/** OpenRPC 1.3.2 (https://spec.open-rpc.org). `x-` members are ours. */
export interface OpenRpcDocument {
  readonly openrpc: '1.3.2';
  readonly info: { readonly title: string; readonly version: string };
  readonly methods: readonly {
    readonly name: string;
    readonly summary: string;
    readonly paramStructure: 'by-name';
    readonly params: readonly { readonly name: string; readonly required: boolean; readonly schema: JsonSchema }[];
    readonly result: { readonly name: 'result'; readonly schema: JsonSchema };
    readonly errors: readonly { readonly code: number; readonly message: string; readonly data: { readonly code: string } }[];
    readonly 'x-owner': string;
    readonly 'x-effect': 'read' | 'write';
    readonly 'x-operation'?: string;
  }[];
}

export function describeMethods(version: string, methods: readonly RegisteredMethod[]): OpenRpcDocument {
  return {
    openrpc: '1.3.2',
    info: { title: 'bangerd', version },
    methods: methods.map(({ name, owner, method }) => ({
      name,
      summary: method.summary,
      paramStructure: 'by-name',
      params: describeParams(method.params),
      result: { name: 'result', schema: toJsonSchema(method.result, 'output') },
      errors: (method.errors ?? []).map((code) => ({ code: rpcCode.banger, message: code, data: { code } })),
      'x-owner': owner,
      'x-effect': method.effect,
      ...(method.operation === undefined ? {} : { 'x-operation': method.operation }),
    })),
  };
}

function describeParams(params: z.ZodType): OpenRpcDocument['methods'][number]['params'] {
  const { properties = {}, required = [], $defs } = toJsonSchema(params, 'input') as {
    readonly properties?: Readonly<Record<string, JsonSchema>>; readonly required?: readonly string[]; readonly $defs?: JsonSchema;
  };
  // Each param stands alone in the document, so each carries the definitions its references point to.
  return Object.entries(properties).map(([name, schema]) => (
    { name, required: required.includes(name), schema: $defs === undefined ? schema : { ...schema, $defs } }));
}

function toJsonSchema(schema: z.ZodType, io: 'input' | 'output'): JsonSchema {
  // What JSON Schema cannot say (a transform, a Date) becomes "anything": the daemon still validates it.
  return z.toJSONSchema(schema, { io, unrepresentable: 'any' });
}
