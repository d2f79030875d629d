// The two ends of a copy, wherever they are: this host's program, a guest's, or our own stdin and stdout.

/** How an end ended. `code`: 0 all of it, 1 partial, else refused (native/copy/README.md). */
export type EndResult = { readonly code: number } | { readonly error: Error };

export interface End {
  /** Who speaks, before its lines. */
  readonly label: string;
  /** Settles when nothing more comes from it; never rejects. */
  readonly ended: Promise<EndResult>;
  /** Asks it to end and to remove what is half-written. Safe to call again. */
  stop(): void;
}
export interface Source extends End {
  /** Hands out the stream, a piece at a time. `write` never rejects. Call once. */
  pump(write: (bytes: Buffer) => Promise<void>): void;
}
export interface Sink extends End {
  /** Resolves when it can take more; also when it has ended and takes none. */
  write(bytes: Buffer): Promise<void>;
  /** No more comes. */
  finish(): void;
}

/** Whether nothing, or not all of it, could be copied. */
export const hasFailed = (result: EndResult): boolean => 'error' in result || result.code > 1;
