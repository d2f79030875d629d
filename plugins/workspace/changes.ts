// What a prepare has to send and to remove: the host's files now against those that were sent before.
import { isSameOnHost } from './manifest.ts';
import type { Manifest, ManifestEntry } from './manifest.ts';

export interface Changes {
  /** New or changed on the host, in the order of `now`. */
  readonly send: readonly string[];
  /** Sent before, and no longer there. */
  readonly remove: readonly string[];
}

/**
 * A file below a path that was a file or link before needs that path removed first, and the other way round; both sides of such a change are in
 * `send` and `remove`, as their paths differ.
 */
export function changesSince(before: Manifest, now: Manifest): Changes {
  const send: string[] = [];
  for (const [path, entry] of now) {
    const old = before.get(path);
    if (old === undefined || !isSameOnHost(old, entry)) send.push(path);
  }
  return { send, remove: [...before.keys()].filter((path) => !now.has(path)) };
}

export interface Stamped { readonly kind: string; readonly mode: number; readonly size: number; readonly mtimeNs: bigint }

/** Whether the guest's file is as it was sent: kind, size, time, and whether its owner may execute it. Guests keep no other part of a mode reliably. */
export function isAsSent(actual: Stamped, sent: Pick<ManifestEntry, 'kind' | 'mode' | 'size' | 'mtimeNs'> | undefined): boolean {
  if (sent === undefined) return actual.kind === 'none';
  if (actual.kind !== sent.kind || actual.size !== sent.size || actual.mtimeNs !== sent.mtimeNs) return false;
  return sent.kind === 'link' || (actual.mode & 0o100) === (sent.mode & 0o100);
}
