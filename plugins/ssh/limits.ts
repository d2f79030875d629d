// How many connections there may be: few that have not said who they are, and so many for each VM.

export interface LimitsOptions { readonly maxUnauthenticated: number; readonly maxConnections: number }

/** One connection's place. Every call after the first of its kind does nothing. */
export interface Admission {
  /** Moves it among the VM's connections; false when that VM has as many as it may. */
  authenticated(vmId: string): boolean;
  release(): void;
}

export interface Limits {
  /** Undefined: there are too many that have not authenticated. */
  admit(): Admission | undefined;
  readonly unauthenticated: number;
  connections(vmId: string): number;
}

export function createLimits({ maxUnauthenticated, maxConnections }: LimitsOptions): Limits {
  let unauthenticated = 0;
  const perVm = new Map<string, number>();
  const count = (vmId: string): number => perVm.get(vmId) ?? 0;
  return {
    get unauthenticated() { return unauthenticated; },
    connections: count,
    admit() {
      if (unauthenticated >= maxUnauthenticated) return undefined;
      unauthenticated += 1;
      let place: 'unauthenticated' | 'released' | { readonly vmId: string } = 'unauthenticated';
      return {
        authenticated(vmId) {
          if (place !== 'unauthenticated') return true;
          if (count(vmId) >= maxConnections) return false;
          unauthenticated -= 1;
          perVm.set(vmId, count(vmId) + 1);
          place = { vmId };
          return true;
        },
        release() {
          if (place === 'unauthenticated') unauthenticated -= 1;
          else if (place !== 'released') {
            const left = count(place.vmId) - 1;
            if (left > 0) perVm.set(place.vmId, left);
            else perVm.delete(place.vmId);
          }
          place = 'released';
        },
      };
    },
  };
}
