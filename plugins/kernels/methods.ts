// The kernel.* methods.
import { z } from 'zod';
import type { RpcMethod } from '../../core/plugin-api.ts';
import { kernelDeleted, kernelListResult, kernelPullParams, kernelRef, kernelResult } from './schema.ts';
import type { KernelService } from './service.ts';

/** Methods by name, for the plugin to register. */
export function kernelMethods(kernels: KernelService) {
  const list: RpcMethod<z.ZodObject<Record<never, never>>, typeof kernelListResult> = {
    summary: 'List local kernels', effect: 'read', params: z.strictObject({}), result: kernelListResult,
    handler: async () => ({ kernels: [...await kernels.list()] }),
  };
  const show: RpcMethod<typeof kernelRef, typeof kernelResult> = {
    summary: 'Show one kernel', effect: 'read', params: kernelRef, result: kernelResult, errors: ['not_found', 'ambiguous_ref'],
    handler: async ({ ref }) => ({ kernel: await kernels.show(ref) }),
  };
  const remove: RpcMethod<typeof kernelRef, typeof kernelDeleted> = {
    summary: 'Delete a kernel no VM uses', effect: 'write', params: kernelRef, result: kernelDeleted, errors: ['not_found', 'ambiguous_ref', 'busy'],
    handler: ({ ref }) => kernels.delete(ref),
  };
  const pull: RpcMethod<typeof kernelPullParams, typeof kernelResult> = {
    summary: 'Make sure a kernel is here, downloading it when it is missing', effect: 'write', operation: 'kernel.pull',
    params: kernelPullParams, result: kernelResult, errors: ['not_found', 'missing_requirement', 'operation_failed'],
    handler: async ({ ref }, call) => {
      const kernel = await kernels.ensure(ref, { opId: call.opId, signal: call.signal, stage: (name, detail) => call.stage(name, detail) });
      return { kernel: await kernels.view(kernel.id) };
    },
  };
  return { list, show, remove, pull };
}
