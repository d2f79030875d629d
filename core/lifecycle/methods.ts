// RPC methods doctor.leaks and doctor.reclaim.
import { z } from 'zod';
import type { RpcMethod } from '../plugin-api.ts';
import type { Lifecycle } from './lifecycle.ts';

const noParams = z.strictObject({});
const leakReport = z.object({
  leaks: z.array(z.object({ kind: z.string(), name: z.string(), step: z.string(), vmId: z.string().optional() })).readonly(),
  undoFailed: z.array(z.object({ vm: z.string(), step: z.string(), error: z.string() })).readonly(),
});
const reclaimResult = z.object({
  removed: z.array(z.string()).readonly(),
  failed: z.array(z.object({ name: z.string(), error: z.string() })).readonly(),
});

export function leaksMethod(lifecycle: Pick<Lifecycle, 'leaks'>): RpcMethod<typeof noParams, typeof leakReport> {
  return {
    summary: 'Lists what this daemon left on the host: objects without a ledger row, and undos that failed.',
    effect: 'read', params: noParams, result: leakReport,
    handler: (_, call) => lifecycle.leaks(call.signal),
  };
}

export function reclaimMethod(lifecycle: Pick<Lifecycle, 'reclaim'>): RpcMethod<typeof noParams, typeof reclaimResult> {
  return {
    summary: 'Retries undos that failed and removes what was left on the host.',
    effect: 'write', operation: 'doctor.reclaim', params: noParams, result: reclaimResult,
    handler: (_, call) => lifecycle.reclaim(call),
  };
}
