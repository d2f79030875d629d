// The `Activity` capability: what plugins hold the daemon for.
import type { Activity } from '../capabilities.ts';

export interface ActivityCount extends Activity {
  /** How many holds there are now. */
  readonly held: number;
}

export function createActivity(): ActivityCount {
  const holds = new Set<symbol>();
  return {
    hold(what) {
      const hold = Symbol(what);
      holds.add(hold);
      return () => { holds.delete(hold); };
    },
    get held() {
      return holds.size;
    },
  };
}
