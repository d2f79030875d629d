// The image.* methods.
import { z } from 'zod';
import type { Image, RpcMethod } from '../../core/plugin-api.ts';
import { imageDeleted, imageListResult, imageRef, imageResult, pullParams } from './schema.ts';
import type { imageView } from './schema.ts';
import type { ImageService } from './service.ts';

type View = z.input<typeof imageView>;

/** Methods by name, for the plugin to register. */
export function imageMethods(images: ImageService) {
  const view = (image: Image): View => {
    const { id, name, sizeBytes, createdAt, source, config } = image;
    return { id, name, sizeBytes, createdAt, source, inUseBy: images.usedBy(id), config: structuredClone(config) as View['config'] };
  };
  const list: RpcMethod<z.ZodObject<Record<never, never>>, typeof imageListResult> = {
    summary: 'List local images', effect: 'read', params: z.strictObject({}), result: imageListResult,
    handler: async () => ({ images: (await images.list()).map(view) }),
  };
  const show: RpcMethod<typeof imageRef, typeof imageResult> = {
    summary: 'Show one image', effect: 'read', params: imageRef, result: imageResult, errors: ['not_found', 'ambiguous_ref'],
    handler: async ({ ref }) => ({ image: view(await images.show(ref)) }),
  };
  const remove: RpcMethod<typeof imageRef, typeof imageDeleted> = {
    summary: 'Delete an image no VM uses', effect: 'write', params: imageRef, result: imageDeleted, errors: ['not_found', 'ambiguous_ref', 'busy'],
    handler: ({ ref }) => images.delete(ref),
  };
  const pull: RpcMethod<typeof pullParams, typeof imageResult> = {
    summary: 'Make sure an image is here, building it when it is missing', effect: 'write', operation: 'image.pull',
    params: pullParams, result: imageResult, errors: ['not_found', 'missing_requirement', 'operation_failed'],
    handler: async ({ ref }, call) => ({
      image: view(await images.ensure(ref, { opId: call.opId, signal: call.signal, stage: (name, detail) => call.stage(name, detail) })),
    }),
  };
  return { list, show, remove, pull };
}
