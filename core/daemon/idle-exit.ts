// Ends the daemon after some minutes in which nobody needed it: no running VM, no client, no operation.
export interface IdleExitOptions {
  /** 0: never. */
  readonly afterMs: number;
  isIdle(): boolean;
  exit(): void;
  /** @default 1000 */
  readonly checkMs?: number;
}

/** Returns a function that stops watching. */
export function watchIdle(options: IdleExitOptions): () => void {
  if (options.afterMs === 0) return () => undefined;
  let idleSince = performance.now();
  const timer = setInterval(() => {
    if (!options.isIdle()) idleSince = performance.now();
    else if (performance.now() - idleSince >= options.afterMs) options.exit();
  }, options.checkMs ?? 1000);
  timer.unref();
  return () => clearInterval(timer);
}
