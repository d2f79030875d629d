import { describe, expect, test } from 'vitest';
import { crashPoints, failInStepThenInUndo, killAt, plannedSteps, type MatrixSetup } from '../support/rollback-matrix.ts';

const setups: MatrixSetup[] = [
  { driver: 'fake', flags: [] },
  { driver: 'real', flags: ['--publish', '18999:80'] },
];

for (const setup of setups) {
  const steps = await plannedSteps(setup);
  // Steps that make nothing on the host have nothing to leave behind; the fake driver covers all, real QEMU those that touch it.
  const rows = steps.filter((step) => setup.driver === 'fake' || step.makes.length > 0).map((step) => step.name);

  // Each case has a host of its own, and a guest takes one of two cores.
  describe.concurrent(`${setup.driver} driver`, () => {
    test('has steps to test', () => {
      expect(rows.length).toBeGreaterThan(setup.driver === 'fake' ? 1 : 4);
    });

    test.each(rows)('%s fails, then fails in its undo', async (step) => {
      await failInStepThenInUndo(setup, step);
    });

    test.each(rows.flatMap((step) => crashPoints.map((point) => [step, point] as const)))('%s loses its daemon at %s', async (step, point) => {
      await killAt(setup, step, point);
    });
  });
}
