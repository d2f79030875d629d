// Order of steps: phase first, then the order of registration (plugin graph, then declaration).
import { phases } from '../model.ts';
import type { Phase } from '../model.ts';
import type { StepRegistration } from './registrations.ts';

/** More steps than one phase will ever have. */
const phaseWidth = 10_000;

/** Phases in which the guest works, so that software emulation stretches their deadlines. */
const guestPhases: ReadonlySet<Phase> = new Set(['boot', 'ready']);

/** tapable's number for a step: lower runs first. */
export function stageOf(phase: Phase, index: number): number {
  return phases.indexOf(phase) * phaseWidth + index;
}

/** Steps in the order in which a start runs them. */
export function inStartOrder(steps: readonly StepRegistration[]): readonly StepRegistration[] {
  return steps
    .map((registration, index) => ({ registration, stage: stageOf(registration.step.phase, index) }))
    .sort((a, b) => a.stage - b.stage)
    .map(({ registration }) => registration);
}

/** Time limit of a step, in milliseconds. */
export function limitOf(step: { readonly phase: Phase; readonly timeoutMs: number }, slowdown: number): number {
  return guestPhases.has(step.phase) ? step.timeoutMs * slowdown : step.timeoutMs;
}
