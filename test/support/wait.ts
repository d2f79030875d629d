// Waiting on conditions, with a limit that is generous on purpose: a liveness bound, not a speed claim.

/** Polls until `probe` answers something other than undefined or false. */
export async function waitFor<T>(what: string, probe: () => Promise<T | undefined | false> | T | undefined | false, limitMs = 60_000): Promise<T> {
  const end = Date.now() + limitMs;
  let last: unknown;
  while (Date.now() < end) {
    try {
      const value = await probe();
      if (value !== undefined && value !== false) return value;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`gave up waiting for ${what} after ${limitMs} ms`, last === undefined ? undefined : { cause: last });
}
