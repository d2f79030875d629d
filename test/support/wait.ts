// Waiting on conditions, with a limit that is generous on purpose: a liveness bound, not a speed claim.

type Probe<T> = () => Promise<T | undefined | false> | T | undefined | false;

/** Polls until `probe` answers something other than undefined or false. */
export const waitFor = <T>(what: string, probe: Probe<T>, limitMs = 60_000): Promise<T> => poll(what, probe, { limitMs, everyMs: 50 });

/** As `waitFor`, for what may be there for some milliseconds only. */
export const waitForMoment = <T>(what: string, probe: Probe<T>): Promise<T> => poll(what, probe, { limitMs: 60_000, everyMs: 1 });

async function poll<T>(what: string, probe: Probe<T>, { limitMs, everyMs }: { readonly limitMs: number; readonly everyMs: number }): Promise<T> {
  const end = Date.now() + limitMs;
  let last: unknown;
  while (Date.now() < end) {
    try {
      const value = await probe();
      if (value !== undefined && value !== false) return value;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
  throw new Error(`gave up waiting for ${what} after ${limitMs} ms`, last === undefined ? undefined : { cause: last });
}
