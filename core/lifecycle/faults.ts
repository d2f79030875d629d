// Points at which a test may end the daemon. Injected by a composition root only: no setting or environment variable leads here.
import type { Vm } from '../model.ts';

export type FaultPoint = 'plan-written' | 'run-entered' | 'host-touched' | 'run-returned' | 'handle-written' | 'undo-entered';

export interface FaultPoints {
  /** Awaited before work goes on. */
  at(point: FaultPoint, step: string, vm: Vm): Promise<void> | void;
}

export const noFaults: FaultPoints = Object.freeze({ at: () => undefined });
