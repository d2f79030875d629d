import { z } from 'zod';
import type { Operations, RpcMethod } from '../../core/plugin-api.ts';
import { operationRef, operationView } from './schema.ts';

const listParams = z.strictObject({});
const listResult = z.object({ operations: z.array(operationView) });
const showResult = z.object({ operation: operationView });

export function listMethod(operations: Operations): RpcMethod<typeof listParams, typeof listResult> {
  return {
    summary: 'Lists running operations and those that ended lately, oldest first.', effect: 'read', params: listParams, result: listResult,
    handler: () => ({ operations: operations.list().map(copy) }),
  };
}

export function showMethod(operations: Operations): RpcMethod<typeof operationRef, typeof showResult> {
  return {
    summary: 'Shows one operation with its timeline.', effect: 'read', params: operationRef, result: showResult, errors: ['not_found'],
    handler: ({ id }) => ({ operation: copy(operations.show(id)) }),
  };
}

export function cancelMethod(operations: Operations): RpcMethod<typeof operationRef, typeof showResult> {
  return {
    summary: 'Asks a running operation to end; what it began is undone first.',
    effect: 'write', params: operationRef, result: showResult, errors: ['not_found'],
    handler: ({ id }) => {
      operations.cancel(id);
      return { operation: copy(operations.show(id)) };
    },
  };
}

type View = z.input<typeof operationView>;

/** The wire's types are mutable arrays; the registry's are read-only. */
function copy(view: ReturnType<Operations['show']>): View {
  return { ...view, timeline: [...view.timeline] };
}
