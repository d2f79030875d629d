// What a lifecycle call needs of the operation that it is part of; an RPC `CallContext` is one.
import { createOpId } from '../ids.ts';
import type { Logger } from '../plugin-api.ts';
import type { TimelineEntry } from '../model.ts';

export interface OperationScope {
  readonly opId: string;
  readonly signal: AbortSignal;
  readonly log: Logger;
  stage(name: string, detail?: string): void;
  timeline(entry: TimelineEntry): void;
}

/** Scope of work that nobody asked for: recovery, watching, leases. */
export function backgroundScope(log: Logger): OperationScope {
  const opId = createOpId();
  return { opId, signal: new AbortController().signal, log: log.child({ opId }), stage: () => undefined, timeline: () => undefined };
}
