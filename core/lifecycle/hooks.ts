// The start hook, and the only importer of tapable. Only `stage` orders taps: `before` misplaces unknown names, and duplicate
// names pass, so a register interceptor refuses them. Hooks cannot unregister: the set of steps is fixed at boot.
import { AsyncSeriesHook } from 'tapable';
import { BangerError } from '../errors.ts';
import { stageOf } from './phases.ts';
import type { StepRegistration } from './registrations.ts';

/** Performs one step of one start; a rejection ends the series. */
export type PerformStep = (registration: StepRegistration) => Promise<void>;

export interface StartHook {
  /** @throws internal when the name is taken or the hook is frozen */
  add(registration: StepRegistration): void;
  /** After this `add` throws. */
  freeze(): void;
  /** Runs `perform` for every step in order, one after another, until one rejects. */
  run(perform: PerformStep): Promise<void>;
}

export function createStartHook(): StartHook {
  const hook = new AsyncSeriesHook<[PerformStep]>(['perform'], 'start');
  const names = new Set<string>();
  let frozen = false;
  let count = 0;
  hook.intercept({
    register: (tap) => {
      if (frozen) throw new BangerError('internal', `Step ${tap.name} was registered after boot`);
      if (names.has(tap.name)) throw new BangerError('internal', `Two steps are named ${tap.name}`);
      names.add(tap.name);
      return tap;
    },
  });
  return {
    add: (registration) => {
      const { name, phase } = registration.step;
      hook.tapPromise({ name, stage: stageOf(phase, count) }, (perform) => perform(registration));
      count += 1;
    },
    freeze: () => { frozen = true; },
    run: (perform) => hook.promise(perform),
  };
}
