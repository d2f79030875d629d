// The process whose life is the VM's.
import type { Processes } from '../capabilities.ts';
import type { Json, ProcessIdentity } from '../model.ts';

const pollMs = 200;

/** Process in the handle of a lifeline row. */
export function lifelineProcess(handle: Json | undefined): ProcessIdentity | undefined {
  const process = (handle as { readonly process?: Partial<ProcessIdentity> } | null | undefined)?.process;
  return typeof process?.pid === 'number' && typeof process.startTime === 'string' ? process as ProcessIdentity : undefined;
}

/** Calls `onEnd` once when the process is gone; Node has no pidfd, so it looks. Returns a function that ends the watch. */
export function watchLifeline(processes: Processes, handle: Json, onEnd: () => void): () => void {
  const process = lifelineProcess(handle);
  if (process === undefined) return () => undefined;
  const timer = setInterval(() => {
    if (processes.isAlive(process)) return;
    clearInterval(timer);
    onEnd();
  }, pollMs);
  timer.unref();
  return () => clearInterval(timer);
}
